"""The modules that a call imports, from its python_path and from elsewhere.

Modules from folders that were importable before the call stay loaded: importing them again would slow every
call down. A module from any other folder is the call's own, whether the folder is searched because of
python_path, the program's own `sys.path.insert`, or a change of the current folder.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
from pathlib import Path
from typing import Any

from cloudpickle import (
    register_pickle_by_value as _register_by_value,
    unregister_pickle_by_value as _unregister_by_value,
)

from gigaexec.worker.call.program import MODULE_NAME

_OWN_FINDERS: tuple[Any, ...] = (
    importlib.machinery.BuiltinImporter,
    importlib.machinery.FrozenImporter,
    importlib.machinery.PathFinder,
)


class ImportState:
    """The folders and hooks that every call can import from."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path_list, self.path = sys.path, list(sys.path)
        self.folders = {os.path.normpath(os.path.join(folder, entry)) for entry in self.path}
        # For example the hooks of editable installs, whose modules lie outside sys.path.
        self.hooks = [finder for finder in sys.meta_path if finder not in _OWN_FINDERS]

    def holds(self, name: str, module: types.ModuleType) -> bool:
        """True if a top-level module comes from a folder or a hook that every call can import from."""
        # The places of a package are its own folders, which finders found in the parent folders.
        places = _package_folders(module) or module_places(module)
        found_in = [os.path.normpath(os.path.dirname(place)) for place in places if os.path.isabs(place)]
        if not found_in or any(folder in self.folders for folder in found_in):
            return True
        return any(_finds(hook, name) for hook in self.hooks)


class CallImports:
    """The imports of one call.

    Args:
        state: The folders and hooks that every call can import from.
        python_path: The call's own folders.
        modules_before: The modules that were loaded before the call.
    """

    def __init__(
        self,
        state: ImportState,
        python_path: list[str],
        modules_before: dict[str, types.ModuleType],
    ) -> None:
        self._state = state
        self._python_path = python_path
        self._modules_before = modules_before

    def prepare(self) -> None:
        """Put python_path at the front of sys.path, and drop the modules that its folders shadow.

        Raises:
            ValueError: An entry is not a path.
            OSError: An entry is relative, and the current folder was removed.
        """
        entries = list(dict.fromkeys(os.path.abspath(entry) for entry in self._python_path))
        self._python_path = entries
        rest = [entry for entry in dict.fromkeys(sys.path) if entry not in entries]
        if "" not in rest:
            # "" stands for the current folder, even after the program has changed folders.
            rest.insert(0, "")
        sys.path[:] = entries + rest
        for entry in entries:
            # A finder lists its folder again only if the mtime changed, which misses files written just now.
            sys.path_importer_cache.pop(entry, None)
            for name in _top_level_names(entry):
                _drop_shadowed(name, entry)

    def register_helpers_by_value(self) -> list[types.ModuleType]:
        """Have cloudpickle pickle the call's own modules by value: the driver cannot import them.

        Returns:
            The modules, for `unregister_helpers` after the value was pickled.
        """
        helpers = list(self._own_modules().values())
        for module in helpers:
            _register_by_value(module)
        return helpers

    @staticmethod
    def unregister_helpers(helpers: list[types.ModuleType]) -> None:
        for module in helpers:
            _unregister_by_value(module)

    def _own_modules(self) -> dict[str, types.ModuleType]:
        """Return the call's own modules among those that it loaded, by name."""
        before = self._modules_before
        loaded = self._loaded_since()
        if not loaded:
            return {}
        now: dict[str, Any] = sys.modules
        verdicts: dict[str, bool] = {}
        own = {}
        for name, module in loaded.items():
            if before.get(name) is module or not isinstance(module, types.ModuleType):
                continue
            top = name.partition(".")[0]
            if top not in verdicts:
                verdicts[top] = self._is_own(top, now.get(top, module))
            if verdicts[top] or self._is_from_python_path(module):
                own[name] = module
        return own

    def _loaded_since(self) -> dict[str, Any]:
        """Return the modules that the call loaded, by name. The result may hold other modules as well."""
        now: dict[str, Any] = sys.modules.copy()
        now.pop(MODULE_NAME, None)
        return now if now != self._modules_before else {}

    def _is_own(self, top: str, module: Any) -> bool:
        if self._modules_before.get(top) is module or not isinstance(module, types.ModuleType):
            return False
        return not self._state.holds(top, module)

    def _is_from_python_path(self, module: types.ModuleType) -> bool:
        return any(_is_inside(place, entry) for place in module_places(module) for entry in self._python_path)


def _drop_shadowed(name: str, entry: str) -> None:
    module = sys.modules.get(name)
    # A fresh Python does not load these from the folder either: it imports them when it starts.
    if module is None or _is_part_of_interpreter(module) or name == "gigaexec":
        return
    if not any(_is_inside(place, entry) for place in module_places(module)):
        for loaded in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(name + ".")]:
            del sys.modules[loaded]


def _finds(hook: Any, name: str) -> bool:
    try:
        return hook.find_spec(name, None) is not None
    except Exception:  # a third-party finder may fail in any way for a name that it does not expect
        return False


def _top_level_names(folder: str) -> list[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []  # a missing folder shadows nothing, as in Python
    names = []
    for entry in entries:
        stem, suffix = os.path.splitext(entry.name)
        if suffix in importlib.machinery.all_suffixes():
            names.append(stem.partition(".")[0])
        elif not suffix and stem.isidentifier() and entry.is_dir() and _holds_package(entry.path):
            names.append(stem)
    return names


def _holds_package(folder: str) -> bool:
    return Path(folder, "__init__.py").exists()


def module_places(module: types.ModuleType) -> list[str]:
    """Return the module's file, or the folders of a package without a file."""
    file = getattr(module, "__file__", None)
    return [file] if isinstance(file, str) else _package_folders(module)


def _package_folders(module: types.ModuleType) -> list[str]:
    try:
        return [place for place in getattr(module, "__path__", ()) if isinstance(place, str)]
    except Exception:  # a namespace package's path calls finders, which may be the program's
        return []


def _is_part_of_interpreter(module: types.ModuleType) -> bool:
    spec: Any = getattr(module, "__spec__", None)
    return getattr(spec, "origin", None) in ("built-in", "frozen") or module.__name__ == "encodings"


def _is_inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
