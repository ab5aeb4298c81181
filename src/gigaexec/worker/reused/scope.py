"""What a call may change and gets back after it.

A reused worker is not a sandbox: a program can change what is not listed here (a library's global state,
say). What programs change by habit is: environment, current folder, `sys.path`, `sys.modules`, `sys.argv`,
signal handlers and timers, umask, soft resource limits; `interpreter` and `habits` list the rest.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from gigaexec.worker.call.imports import ImportState
from gigaexec.worker.call.scope import CallScope
from gigaexec.worker.reused.imports import RestoredImports
from gigaexec.worker.reused.interpreter import InterpreterState
from gigaexec.worker.reused.library_state import LibraryState

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# Plain numbers: for members of an enum, every call into C takes a detour through Python.
_SIGNALS = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_LIMIT_NAMES = ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
_LIMITS = tuple(
    getattr(resource, f"RLIMIT_{name}") for name in _LIMIT_NAMES if hasattr(resource, f"RLIMIT_{name}")
)

# The module `signal` wraps these to make enum members: 20 us for the handlers of all signals instead of 3.
_c_signal: Any = importlib.import_module("_signal")
_get_handler: Callable[[int], Any] = _c_signal.getsignal
_set_handler: Callable[[int, Any], Any] = _c_signal.signal
_SIGINT, _SIG_IGN = int(signal.SIGINT), int(signal.SIG_IGN)


class Baseline:
    """The state of this process between calls. Every call starts from it and is brought back to it."""

    def __init__(self) -> None:
        self.environment_object = os.environ
        self.environment = _environment_data().copy()
        self.folder = _current_folder()
        self.imports = ImportState(self.folder)
        self.argv = list(sys.argv)
        self.handlers = list(map(_get_handler, _SIGNALS))
        self.limits = {limit: resource.getrlimit(limit) for limit in _LIMITS}
        self.interpreter = InterpreterState()
        self.library_state = LibraryState()
        self.umask = os.umask(0o077)
        os.umask(self.umask)


class RestoredScope(CallScope):
    """A scope that takes back what the call changed, for a process that runs another call after it.

    Use it as a context manager around one call. After it, `not_restored` says what could not be taken back.
    """

    def __init__(self, baseline: Baseline, python_path: list[str], env: dict[str, str | None]) -> None:
        self._restored_imports = RestoredImports(baseline.imports, python_path)
        super().__init__(self._restored_imports, env)
        self._baseline = baseline
        self.not_restored = ""

    def __enter__(self) -> RestoredScope:
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        # First what could still run user code on this thread, or interrupt it.
        _set_handler(_SIGINT, _SIG_IGN)
        self._note(self._baseline.interpreter.restore())
        self._restore_signals()
        os.umask(self._baseline.umask)
        self._restore_environment()
        self._note(self._restored_imports.restore())
        sys.argv = list(self._baseline.argv)
        self._restore_folder()
        self._restore_limits()
        self._note(self._baseline.library_state.restore())

    def _restore_environment(self) -> None:
        os.environ = self._baseline.environment_object  # noqa: B003 - a program may have replaced the object
        before = self._baseline.environment
        now = _environment_data()
        if now == before:
            return
        is_other_zone = now.get(b"TZ") != before.get(b"TZ")
        for name in [name for name in now if name not in before]:
            del os.environ[os.fsdecode(name)]
        for name, value in before.items():
            if now.get(name) != value:
                os.environ[os.fsdecode(name)] = os.fsdecode(value)
        if is_other_zone:
            time.tzset()  # the C library may have taken the call's

    def _note(self, what_is_not_restored: str) -> None:
        self.not_restored = self.not_restored or what_is_not_restored

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        if (handlers := list(map(_get_handler, _SIGNALS))) != self._baseline.handlers:
            for number, now, before in zip(_SIGNALS, handlers, self._baseline.handlers, strict=True):
                # None: the handler was not set from Python, and Python cannot set it again.
                if now != before and before is not None:
                    signal.signal(number, before)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _restore_folder(self) -> None:
        try:
            if os.getcwd() == self._baseline.folder:
                return
        except OSError:
            pass  # the folder in which the call ended is gone
        try:
            os.chdir(self._baseline.folder)
        except OSError as error:
            self._note(f"its current folder {self._baseline.folder!r} is gone: {error.strerror}")

    def _restore_limits(self) -> None:
        for limit, (soft, hard) in self._baseline.limits.items():
            if resource.getrlimit(limit) == (soft, hard):
                continue
            try:
                resource.setrlimit(limit, (soft, hard))
            except (ValueError, OSError):
                self._note("the program lowered a hard resource limit")


def _environment_data() -> dict[bytes, bytes]:
    # The dict inside os.environ: its copy takes 1 us, a copy of os.environ itself 40 us, for every call.
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return data


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder in which the driver started this process is gone
        os.chdir("/")
        return "/"
