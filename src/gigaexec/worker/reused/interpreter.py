"""Restores the parts of the interpreter that a program changed.

The engine, the import system and the next program depend on these parts. A program that breaks such a part,
by a "reliability guard" or a monkey patch, must not break the next program.

Engine code that runs between a program and `InterpreterState.restore` uses only standard library functions
that were bound at import, before the program ran.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import sys
import threading
from collections.abc import Callable
from operator import itemgetter
from sys import setprofile as _setprofile, settrace as _settrace
from typing import Any

from gigaexec.worker.call.modules import RESTORED_MODULES, ModuleContents, are_equal

# Attributes of `sys` that the module `scope` restores.
_NOT_OF_SYS = {"stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "argv", "path"}


class InterpreterState:
    """The interpreter state from which every call starts. Create it once, before any program runs."""

    def __init__(self) -> None:
        self._audit_hooks = _AuditHookWatch()
        # All of them are loaded here: a program that loads and patches one of them must not leave its patches
        # to the next program.
        for name in RESTORED_MODULES:
            importlib.import_module(name)
        self.modules = ModuleContents()
        self._sys = _SysContents()
        hooks: tuple[list[Any], ...] = (sys.meta_path, sys.path_hooks, gc.callbacks)
        self._hooks = [(each, each.copy()) for each in hooks]
        self._recursion_limit = sys.getrecursionlimit()
        self._int_digits_limit = sys.get_int_max_str_digits()
        self._switch_interval = sys.getswitchinterval()
        self._gc_threshold = gc.get_threshold()

    def restore(self) -> str:
        """Restore the interpreter state. Returns the reason why the worker must retire; "" if it need not."""
        # Disable tracing first: a trace function of the program would run during all that follows.
        _settrace(None)
        _setprofile(None)
        self._sys.restore()
        self.modules.restore()
        for each, copy in self._hooks:
            if not are_equal(each, copy):
                each[:] = copy
                # The cache may contain finders that the program's hooks made, and None for folders that the
                # program's hooks refused.
                sys.path_importer_cache.clear()
        self._restore_limits()
        threading.settrace(None)
        threading.setprofile(None)
        gc.enable()
        faulthandler.cancel_dump_traceback_later()
        faulthandler.enable(file=2, all_threads=True)
        return "the program added an audit hook" if self._audit_hooks.were_added else ""

    def _restore_limits(self) -> None:
        sys.setrecursionlimit(self._recursion_limit)
        sys.set_int_max_str_digits(self._int_digits_limit)
        sys.setswitchinterval(self._switch_interval)
        sys.set_asyncgen_hooks(None, None)
        gc.set_threshold(*self._gc_threshold)


class _SysContents:
    """The attributes of `sys`, except the attributes that the module `scope` restores."""

    def __init__(self) -> None:
        self._contents = vars(sys)
        names = [name for name in self._contents if name not in _NOT_OF_SYS]
        self._get: Callable[[dict[str, Any]], tuple[Any, ...]] = itemgetter(*names)
        self._before = dict(zip(names, self._get(self._contents), strict=True))
        self._values = tuple(self._before.values())
        self._known = self._before.keys() | _NOT_OF_SYS

    def restore(self) -> None:
        contents = self._contents
        try:
            if len(contents) == len(self._known) and are_equal(self._get(contents), self._values):
                return
        except KeyError:
            pass  # the program deleted an attribute
        for name in contents.keys() - self._known:
            del contents[name]
        contents.update(self._before)


class _AuditHookWatch:
    """Detects an audit hook added by a program. Audit hooks cannot be removed, and may raise at any event."""

    def __init__(self) -> None:
        self.were_added = False
        add = sys.addaudithook

        def addaudithook(hook: Callable[[str, tuple[Any, ...]], Any]) -> None:
            self.were_added = True
            add(hook)

        # An audit hook of our own would also detect added hooks, but would slow down every open, import and
        # compile.
        sys.addaudithook = addaudithook
