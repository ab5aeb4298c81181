"""What a call may change and gets back after it.

A reused worker is not a sandbox: a program can change what is not listed here (a library's global state,
say). What programs change by habit is: environment, current folder, `sys.path`, `sys.modules`, `sys.argv`,
signal handlers and timers, umask, soft resource limits, trace functions, the recursion limit.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

import cloudpickle

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(
    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
)
_LIMITS = tuple(
    getattr(resource, name)
    for name in (
        "RLIMIT_AS",
        "RLIMIT_CPU",
        "RLIMIT_DATA",
        "RLIMIT_FSIZE",
        "RLIMIT_NOFILE",
        "RLIMIT_NPROC",
        "RLIMIT_STACK",
    )
    if hasattr(resource, name)
)


class CallScope:
    """Prepares the process for one call, and takes back what the call changed.

    Use it as a context manager around one call. What could not be taken back is in `not_restored` then.
    """

    def __init__(self, python_path: list[str], env: dict[str, str | None]) -> None:
        self._python_path = list(dict.fromkeys(os.path.abspath(entry) for entry in python_path))
        self._env = env
        self.not_restored = ""

    def __enter__(self) -> CallScope:
        self._environment_before = dict(os.environ)
        self._folder_before = _current_folder()
        self._path_list, self._path_before = sys.path, list(sys.path)
        self._argv_before = list(sys.argv)
        self._modules_before = dict(sys.modules)
        self._handlers_before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._limits_before = {limit: resource.getrlimit(limit) for limit in _LIMITS}
        self._recursion_limit_before = sys.getrecursionlimit()
        self._umask_before = os.umask(0o077)
        os.umask(self._umask_before)
        self._apply_environment()
        self._apply_python_path()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(self, *_: object) -> None:
        # First what could still run user code on this thread, or interrupt it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.settrace(None)
        sys.setprofile(None)
        self._restore_signals()
        threading.settrace(None)
        threading.setprofile(None)
        sys.setrecursionlimit(self._recursion_limit_before)
        if not gc.isenabled():
            gc.enable()
        os.umask(self._umask_before)
        self._restore_environment()
        self._restore_imports()
        sys.argv = self._argv_before
        self._restore_folder()
        self._restore_limits()

    def register_helpers_by_value(self) -> list[types.ModuleType]:
        """Have cloudpickle send classes of the call's helper modules by value; the driver lacks the modules.

        Returns:
            The modules; give them to `unregister_helpers` when the value is pickled.
        """
        helpers = [
            module for name, module in self._changed_modules() if self._is_from_python_path(name, module)
        ]
        for module in helpers:
            cloudpickle.register_pickle_by_value(module)
        return helpers

    @staticmethod
    def unregister_helpers(helpers: list[types.ModuleType]) -> None:
        for module in helpers:
            cloudpickle.unregister_pickle_by_value(module)

    def _apply_environment(self) -> None:
        for name, value in self._env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _restore_environment(self) -> None:
        if dict(os.environ) == self._environment_before:
            return
        for name in [name for name in os.environ if name not in self._environment_before]:
            del os.environ[name]
        for name, value in self._environment_before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    def _apply_python_path(self) -> None:
        entries = self._python_path
        rest = [entry for entry in sys.path if entry not in entries]
        if "" not in rest and self._folder_before not in (*rest, *entries):
            rest.insert(0, "")  # as when Python runs a script: the current folder is importable
        sys.path[:] = entries + rest
        for entry in entries:
            # The finder remembers a folder's listing by its mtime: too coarse for a file just written.
            sys.path_importer_cache.pop(entry, None)
            for name in _top_level_names(entry):
                self._drop_shadowed(name, entry)

    def _drop_shadowed(self, name: str, entry: str) -> None:
        module = sys.modules.get(name)
        # What the interpreter itself imported at its start would win over the folder in a fresh Python too.
        if module is None or _is_part_of_interpreter(module) or name == "gigaexec":
            return
        if not any(_is_inside(place, entry) for place in _module_places(module)):
            for loaded in [
                loaded for loaded in sys.modules if loaded == name or loaded.startswith(name + ".")
            ]:
                del sys.modules[loaded]

    def _restore_imports(self) -> None:
        for name, module in self._changed_modules():
            if name not in self._modules_before and self._is_from_python_path(name, module):
                del sys.modules[name]
        for name, module in self._modules_before.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
        sys.path = self._path_list
        sys.path[:] = self._path_before
        for entry in self._python_path:
            sys.path_importer_cache.pop(entry, None)

    def _changed_modules(self) -> list[tuple[str, types.ModuleType]]:
        before = self._modules_before
        return [
            (name, module)
            for name, module in list(sys.modules.items())
            if before.get(name) is not module and isinstance(module, types.ModuleType)
        ]

    def _is_from_python_path(self, name: str, module: types.ModuleType) -> bool:
        if not self._python_path or name == "user_code":
            return False
        return any(
            _is_inside(place, entry) for place in _module_places(module) for entry in self._python_path
        )

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers_before.items():
            # None: the handler was not set from Python, and Python cannot set it again.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _restore_folder(self) -> None:
        try:
            if os.getcwd() == self._folder_before:
                return
        except OSError:
            pass  # the folder in which the call ended is gone
        try:
            os.chdir(self._folder_before)
        except OSError as error:
            self.not_restored = f"its current folder {self._folder_before!r} is gone: {error.strerror}"

    def _restore_limits(self) -> None:
        for limit, (soft, hard) in self._limits_before.items():
            if resource.getrlimit(limit) == (soft, hard):
                continue
            try:
                resource.setrlimit(limit, (soft, hard))
            except (ValueError, OSError):
                self.not_restored = "the program lowered a hard resource limit"


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder in which the driver started this process is gone
        os.chdir("/")
        return "/"


def _top_level_names(folder: str) -> list[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []  # a folder that is not there shadows nothing, as in Python
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


def _module_places(module: types.ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return [file]
    try:
        return [place for place in getattr(module, "__path__", ()) if isinstance(place, str)]
    except Exception:  # a namespace path works its entries out anew, with whatever finders the program added
        return []


def _is_part_of_interpreter(module: types.ModuleType) -> bool:
    spec: Any = getattr(module, "__spec__", None)
    return getattr(spec, "origin", None) in ("built-in", "frozen") or module.__name__ == "encodings"


def _is_inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
