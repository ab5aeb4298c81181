"""Restores functions, classes and constants of library modules that a program replaced.

Comparing all modules after each call would take longer than the call. A program that replaces a part of a
module has the name of the module in its code, so only modules that the code names are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from gigaexec.worker.call.program import MODULE_NAME

_RESTORED_TYPES = (FunctionType, BuiltinFunctionType, type, int, float, str, tuple)


class LibraryModules:
    """Public functions, classes and constants of the loaded modules. Created before any program runs."""

    def __init__(self) -> None:
        self._contents: dict[str, dict[str, Any]] = {}
        self._loaded = 0
        self._add_new()

    def restore(self, names: Iterable[str]) -> str:
        """Restore the modules that a program named, when its own modules have been unloaded.

        Args:
            names: The names in the code of the program.

        Returns:
            Why the worker must retire, or "": the call loaded and changed a module, so its original contents
            are unknown.
        """
        for name in names:
            if name in self._contents and isinstance(module := sys.modules.get(name), ModuleType):
                contents = vars(module)
                for key, value in self._contents[name].items():
                    if contents.get(key) is not value:
                        contents[key] = value
        changed = [name for name in names if name not in self._contents and _has_part_of_program(name)]
        self._add_new()
        return f"the program changed the module {changed[0]}" if changed else ""

    def _add_new(self) -> None:
        if len(sys.modules) == self._loaded:
            return
        self._loaded = len(sys.modules)
        for name, module in sys.modules.copy().items():
            if name not in self._contents and type(module) is ModuleType:
                self._contents[name] = {
                    key: value
                    for key, value in vars(module).items()
                    if not key.startswith("_") and isinstance(value, _RESTORED_TYPES)
                }


def _has_part_of_program(module_name: str) -> bool:
    module = sys.modules.get(module_name)
    if type(module) is not ModuleType:
        return False
    return any(
        isinstance(value, FunctionType | type) and getattr(value, "__module__", None) == MODULE_NAME
        for value in vars(module).copy().values()
    )
