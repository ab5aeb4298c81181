"""The steps that turn a fresh process into a worker or a template."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from typing import Any

from gigaexec.worker.call.report import describe_exception

_HIGHEST_DESCRIPTOR = 1 << 20  # the default of fs.nr_open


def prepare_interpreter() -> None:
    """Reset signals and multiprocessing to the defaults of a fresh interpreter. Disable bytecode files.

    Forked processes inherit these settings.
    """
    _reset_signals()
    faulthandler.enable(file=2, all_threads=True)
    # loky sets its own start method, which does not work in programs.
    multiprocessing.set_start_method(None, force=True)
    if sys.platform == "linux":
        # The default of Python 3.14 is forkserver: a new interpreter that would import the program, which has
        # no file.
        default: Any = multiprocessing.context._default_context
        default._default_context = multiprocessing.get_context("fork")
    # A helper module that is rewritten within a second, at the same size, would be loaded from a stale
    # __pycache__.
    sys.dont_write_bytecode = True


def preload(modules: tuple[str, ...]) -> str:
    """Import the modules of `preload`. Return the error text of the first that fails, or ""."""
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if missing is not None and f"{name}.".startswith(f"{missing}."):
                return f"preload {name}: no such module"
            return f"preload {name}: cannot be imported\n{describe_exception(error).stderr}"
    return ""


def raise_oom_score() -> None:
    """Have the kernel kill this process before the driver when memory runs out."""
    try:
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(file, b"1000")
        os.close(file)
    except OSError:
        pass  # not Linux, or a hardened container: the kernel then chooses by size


def close_all_but(wanted: set[int]) -> None:
    """Close all descriptors from 3 on, except `wanted`.

    An object that owns a closed descriptor must not close it later: the number may be in use again.
    """
    first = 3
    for descriptor in sorted(wanted):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _HIGHEST_DESCRIPTOR)


def _reset_signals() -> None:
    # Ignored and blocked signals are inherited from the driver, which may run under nohup.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # CallScope enables SIGINT for a call
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
