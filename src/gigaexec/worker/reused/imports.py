"""The imports of a call in a reused worker, which are unloaded after it."""

from __future__ import annotations

import importlib.machinery
import sys

from gigaexec.worker.call.imports import CallImports, ImportState, module_places

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)


class RestoredImports(CallImports):
    """The imports of one call, which `restore` unloads.

    Args:
        state: The folders and hooks that every call can import from.
        python_path: The call's own folders.
    """

    def __init__(self, state: ImportState, python_path: list[str]) -> None:
        super().__init__(state, python_path, sys.modules.copy())
        self._folders_before = set(sys.path_importer_cache)

    def restore(self) -> str:
        """Unload the call's own modules and restore the others. Returns why the worker must retire, or ""."""
        own = self._own_modules()
        loaded, before = sys.modules, self._modules_before
        for name in own.keys() - before.keys():
            del loaded[name]
        if loaded != before:
            for name in [name for name, module in loaded.items() if module is None]:
                del loaded[name]  # None in sys.modules forbids an import
            for name, module in before.items():
                loaded[name] = module
        self._restore_path()
        # Many extension modules cannot be loaded a second time in one process, as the next call would.
        if any(place.endswith(_EXTENSIONS) for module in own.values() for place in module_places(module)):
            return "the program imported extension modules from a folder of its own"
        return ""

    def _restore_path(self) -> None:
        sys.path = self._state.path_list
        sys.path[:] = self._state.path
        # A finder's cached listing goes by mtime, which is too coarse for files that the next call writes.
        for entry in sys.path_importer_cache.keys() - self._folders_before - self._state.folders:
            del sys.path_importer_cache[entry]
