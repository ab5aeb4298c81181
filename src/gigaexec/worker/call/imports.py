"""Sets up and tracks the modules that a call imports.

Modules from folders that were importable before the call stay loaded: importing such modules again would slow
down every call. A module from any other folder is the call's own module. Python may search such a folder
because of `python_path`, a `sys.path.insert` of the program, or a change of the current folder.
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
    """The folders and import hooks that every call can import from."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path_list, self.path = sys.path, list(sys.path)
        self.folders = {os.path.normpath(os.path.join(folder, entry)) for entry in self.path}
        # For example, the hooks of editable installs: modules of an editable install are not on sys.path.
        self.hooks = [finder for finder in sys.meta_path if finder not in _OWN_FINDERS]

    def holds(self, name: str, module: types.ModuleType) -> bool:
        """True if a top-level module comes from a folder or import hook that every call can import from."""
        # A module is importable from the folder that contains its file, and a package from the folder that
        # contains the package's folder.
        places = _package_folders(module) or module_places(module)
        found_in = [os.path.normpath(os.path.dirname(place)) for place in places if os.path.isabs(place)]
        if not found_in or any(folder in self.folders for folder in found_in):
            return True
        return any(_finds(hook, name) for hook in self.hooks)


class CallImports:
    """Sets up and tracks the imports of one call.

    Args:
        state: The folders and import hooks that every call can import from.
        python_path: The call's own folders, searched first.
        program_folder: The folder from which child processes of the program import `user_code`, or "".
        modules_before: The modules that were loaded before the call, by name.
    """

    def __init__(
        self,
        state: ImportState,
        python_path: list[str],
        program_folder: str,
        modules_before: dict[str, types.ModuleType],
    ) -> None:
        self._state = state
        self._python_path = python_path
        self._program_folder = program_folder
        self._modules_before = modules_before

    def prepare(self) -> None:
        """Put the folders of python_path first on sys.path, and unload modules that these folders shadow.

        Raises:
            ValueError: An entry of python_path is not a valid path.
            OSError: An entry of python_path is relative, and the current folder was removed.
        """
        entries = list(dict.fromkeys(os.path.abspath(entry) for entry in self._python_path))
        self._python_path = entries
        rest = [entry for entry in dict.fromkeys(sys.path) if entry not in entries]
        if "" not in rest:
            # The entry "" has Python search the current folder, even after the program changes that folder.
            rest.insert(0, "")
        sys.path[:] = [*entries, *filter(None, [self._program_folder]), *rest]
        for entry in entries:
            # Drop the cached finder: it lists its folder again only if the folder's mtime changed, and so
            # misses files written just now.
            sys.path_importer_cache.pop(entry, None)
            for name in _top_level_names(entry):
                _drop_shadowed(name, entry)

    def register_helpers_by_value(self) -> list[types.ModuleType]:
        """Have cloudpickle pickle the call's own modules by value: the driver cannot import these modules.

        Returns:
            The registered modules. Pass them to `unregister_helpers` when the value has been pickled.
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
        """Return the modules that the call loaded and that are its own, by name."""
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
        """Return the modules that the call loaded, by name. The result may contain other modules, too."""
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
    # Keep the interpreter's own modules and gigaexec: a worker imports them when it starts, so no folder of a
    # call can shadow them.
    if module is None or _is_part_of_interpreter(module) or name == "gigaexec":
        return
    if not any(_is_inside(place, entry) for place in module_places(module)):
        for loaded in [loaded for loaded in sys.modules if loaded == name or loaded.startswith(name + ".")]:
            del sys.modules[loaded]


def _finds(hook: Any, name: str) -> bool:
    try:
        return hook.find_spec(name, None) is not None
    except Exception:  # a third-party finder may fail in any way for an unexpected name
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
    """Return the file of a module; for a package without a file, its folders."""
    file = getattr(module, "__file__", None)
    return [file] if isinstance(file, str) else _package_folders(module)


def _package_folders(module: types.ModuleType) -> list[str]:
    try:
        return [place for place in getattr(module, "__path__", ()) if isinstance(place, str)]
    except Exception:  # reading __path__ of a namespace package may call finders of the program
        return []


def _is_part_of_interpreter(module: types.ModuleType) -> bool:
    spec: Any = getattr(module, "__spec__", None)
    return getattr(spec, "origin", None) in ("built-in", "frozen") or module.__name__ == "encodings"


def _is_inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
