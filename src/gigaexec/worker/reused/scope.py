"""Restores the process state that a call changed.

This module restores descriptors 0 to 2, the environment, the current folder, `sys.path`, `sys.modules`,
`sys.argv`, signal handlers and timers, umask and soft resource limits. It calls the modules `interpreter` and
`library_state`, which restore further state. A reused worker is not a sandbox: a program can also change
state that nothing restores, such as a library's globals.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import io
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from gigaexec.worker.call.capture import Streams
from gigaexec.worker.call.imports import CallImports, ImportState, module_places
from gigaexec.worker.call.program import names_in_program
from gigaexec.worker.call.scope import CallScope, require_current_folder
from gigaexec.worker.reused.interpreter import InterpreterState
from gigaexec.worker.reused.library_modules import LibraryModules
from gigaexec.worker.reused.library_state import LibraryState

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# Signal numbers as plain ints, because converting an enum member for C code would run Python code.
_SIGNALS = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_LIMIT_NAMES = ("AS", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
_LIMITS = tuple(
    getattr(resource, f"RLIMIT_{name}") for name in _LIMIT_NAMES if hasattr(resource, f"RLIMIT_{name}")
)

# The C functions behind `signal.getsignal` and `signal.signal`, which also convert to enum members. Reading
# the handlers of all signals takes 3 us with the C function, and 20 us with `signal.getsignal`.
_c_signal: Any = importlib.import_module("_signal")
_get_handler: Callable[[int], Any] = _c_signal.getsignal
_set_handler: Callable[[int, Any], Any] = _c_signal.signal
_SIGINT, _SIG_IGN = int(signal.SIGINT), int(signal.SIG_IGN)

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)


class Baseline:
    """The state of this process before the first call. After every call, this state is restored."""

    def __init__(self) -> None:
        self.environment_object = os.environ
        self.environment = _environment_data().copy()
        self.folder = require_current_folder()
        self.imports = ImportState(self.folder)
        self.argv = list(sys.argv)
        self.handlers = list(map(_get_handler, _SIGNALS))
        self.limits = {limit: resource.getrlimit(limit) for limit in _LIMITS}
        self.interpreter = InterpreterState()
        self.library_state = LibraryState()
        self.library_modules = LibraryModules()
        self.umask = os.umask(0o077)
        os.umask(self.umask)


class RestoredImports(CallImports):
    """Sets up and tracks the imports of one call. `restore` unloads the call's own modules.

    Args:
        state: The folders and hooks that every call can import from.
        python_path: The call's own folders.
        program_folder: The folder from which child processes of the program import `user_code`.
    """

    def __init__(self, state: ImportState, python_path: list[str], program_folder: str) -> None:
        super().__init__(state, python_path, program_folder, sys.modules.copy())
        self._folders_before = set(sys.path_importer_cache)

    def restore(self) -> str:
        """Unload the call's own modules; restore all others. Returns why the worker must retire, or ""."""
        own = self._own_modules()
        loaded, before = sys.modules, self._modules_before
        for name in own.keys() - before.keys():
            del loaded[name]
        if loaded != before:
            for name in [name for name, module in loaded.items() if module is None]:
                del loaded[name]  # an entry None in sys.modules forbids the import of that module
            for name in names_in_program() & (loaded.keys() - before.keys()):
                if _was_made_by_hand(loaded[name]):
                    del loaded[name]
            for name, module in before.items():
                loaded[name] = module
        self._restore_path()
        # The next call would load these extension modules again, but many extension modules cannot be loaded
        # a second time in one process.
        if any(place.endswith(_EXTENSIONS) for module in own.values() for place in module_places(module)):
            return "the program imported extension modules from its own folders"
        return ""

    def _restore_path(self) -> None:
        sys.path = self._state.path_list
        sys.path[:] = self._state.path
        # Drop cached finders: a finder lists its folder again only if the folder's mtime changed, and so
        # misses files that the next call writes.
        for entry in sys.path_importer_cache.keys() - self._folders_before - self._state.folders:
            del sys.path_importer_cache[entry]


def _was_made_by_hand(module: Any) -> bool:
    """True for a module that a program put into `sys.modules`: the import system gives modules a spec."""
    return type(module) is types.ModuleType and module.__spec__ is None


class RestoredScope(CallScope):
    """A `CallScope` that restores the process after the call, for the next call.

    Use the scope as a context manager around one call. Afterwards `not_restored` is the reason why the
    process could not be restored, or "".
    """

    def __init__(
        self, baseline: Baseline, python_path: list[str], env: dict[str, str | None], program_folder: str = ""
    ) -> None:
        self._restored_imports = RestoredImports(baseline.imports, python_path, program_folder)
        super().__init__(self._restored_imports, baseline.interpreter.modules, env)
        self._baseline = baseline
        self.not_restored = ""

    def __enter__(self) -> RestoredScope:
        self.prepare()
        return self

    def __exit__(self, *_: object) -> None:
        # First disable SIGINT, trace functions and signal handlers: they could run the program's code on this
        # thread, and so interrupt this method.
        _set_handler(_SIGINT, _SIG_IGN)
        self._note(self._baseline.interpreter.restore())
        self._restore_signals()
        os.umask(self._baseline.umask)
        self._restore_environment()
        self._note(self._restored_imports.restore())
        sys.argv = list(self._baseline.argv)
        self._restore_folder()
        self._restore_limits()
        names = names_in_program()
        self._note(self._baseline.library_modules.restore(names))
        self._note(self._baseline.library_state.restore(names))

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
            time.tzset()  # the C library may have cached the call's time zone

    def _note(self, retire_reason: str) -> None:
        """Set `not_restored` to the reason, unless an earlier reason is recorded or the reason is ""."""
        self.not_restored = self.not_restored or retire_reason

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        if (handlers := list(map(_get_handler, _SIGNALS))) != self._baseline.handlers:
            for number, now, before in zip(_SIGNALS, handlers, self._baseline.handlers, strict=True):
                # `before` is None if C code set the handler. Python cannot restore such a handler.
                if now != before and before is not None:
                    signal.signal(number, before)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _restore_folder(self) -> None:
        try:
            if os.getcwd() == self._baseline.folder:
                return
        except OSError:
            pass  # the current folder was removed during the call
        try:
            os.chdir(self._baseline.folder)
        except OSError as error:
            self._note(f"the worker cannot return to its folder {self._baseline.folder!r}: {error.strerror}")

    def _restore_limits(self) -> None:
        for limit, (soft, hard) in self._baseline.limits.items():
            if resource.getrlimit(limit) == (soft, hard):
                continue
            try:
                resource.setrlimit(limit, (soft, hard))
            except (ValueError, OSError):
                self._note("the program lowered a hard resource limit")


class RestoredStreams(Streams):
    """The standard streams of a reused worker. `restore` restores these streams after a call."""

    def __init__(self, stdout_pipe: int, stderr_pipe: int) -> None:
        """Point descriptor 0 at /dev/null, and descriptors 1 and 2 at the pipes."""
        super().__init__()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # Keep the original descriptors, because the program may close or redirect descriptors 0, 1 and 2. The
        # originals are closed on exec.
        self._originals = (null, stdout_pipe, stderr_pipe)
        self._identities = tuple(map(_identity, self._originals))
        for descriptor in self._originals:
            os.set_inheritable(descriptor, False)
        self.restore()

    def restore(self) -> None:
        """Restore descriptors 0 to 2 and their objects in `sys`.

        A file object of the program that is freed here or later may close a descriptor again.
        """
        if tuple(map(_identity, (0, 1, 2))) != self._identities:
            for target, original in enumerate(self._originals):
                os.dup2(original, target, inheritable=True)
        for pipe in self._originals[1:]:
            os.set_blocking(pipe, True)  # a non-blocking pipe loses output silently
        # New objects after every call, 8 us: nothing shows that a program has reconfigured a stream.
        self.renew()


def is_on_standard_stream(file: io.FileIO) -> bool:
    """True if the file closes one of the descriptors 0 to 2 when it is freed."""
    return not file.closed and file.closefd and file.fileno() in (0, 1, 2)


def descriptors_run_low() -> bool:
    """True if the lowest free descriptor is above half of this process's limit on open files."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest_free = os.dup(0)
    except OSError:
        return True
    os.close(lowest_free)
    return soft_limit != resource.RLIM_INFINITY and lowest_free > soft_limit // 2


def _environment_data() -> dict[bytes, bytes]:
    # The dict inside os.environ. For every call, copying this dict takes 1 us, and copying os.environ 40 us.
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # private
    return data


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    except OSError:  # the descriptor is closed
        return (0, 0)
    return found.st_dev, found.st_ino
