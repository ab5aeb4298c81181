"""Restores the modules that the engine uses, after a program has run.

Programs replace builtins and functions of libraries, as a "reliability guard" or for tests. The engine must
still be able to encode the program's value and to report its error.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import modules as _modules
from typing import Any

# Bound here: the program may have replaced the builtins.
_Exception = Exception

# Modules that the engine and the import system use, or that programs patch. Comparing a module takes 0.2 to
# 5 us after each call.
RESTORED_MODULES = (
    *("builtins", "os", "shutil", "subprocess", "socket", "time", "signal", "_signal", "threading", "gc"),
    *("io", "_io", "pickle", "_pickle", "cloudpickle", "cloudpickle.cloudpickle", "resource", "faulthandler"),
    *("linecache", "traceback", "warnings", "types", "functools", "struct"),
    *("_frozen_importlib", "_frozen_importlib_external"),
)


class ModuleContents:
    """The contents of modules. Created before any program runs in this process."""

    def __init__(self) -> None:
        found = {name: vars(_modules[name]) for name in RESTORED_MODULES if name in _modules}
        self._contents = {name: (contents, contents.copy()) for name, contents in found.items()}
        self._modules = _modules.copy()

    def restore(self, names: Iterable[str] | None = None) -> None:
        """Restore the contents. This method uses no builtin and no function of a module.

        Args:
            names: Names of the modules to restore; other names are ignored. None restores all modules.
                Comparing a module writes to the reference counts of its contents; in a forked process, this
                copies their pages.
        """
        if _modules.__len__() < self._modules.__len__():  # the program removed modules
            _modules.update(self._modules)
        for name in self._contents if names is None else names:
            if name not in self._contents:
                continue
            contents, before = self._contents[name]
            if not are_equal(contents, before):
                contents.clear()
                contents.update(before)


def are_equal(now: Any, before: Any) -> bool:
    """Compare for equality; False if the comparison raises. Uses no builtin."""
    try:
        return True if now == before else False  # noqa: SIM210 - the program may have replaced `bool`
    except _Exception:  # the comparison ran code of an object of the program
        return False
