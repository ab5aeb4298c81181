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
    """Give the interpreter the state that programs expect of a fresh one; write no bytecode files.

    Forked processes inherit all of it.
    """
    _reset_signals()
    faulthandler.enable(file=2, all_threads=True)
    # loky leaves its own start method here, which fails in programs.
    multiprocessing.set_start_method(None, force=True)
    if sys.platform == "linux":
        # The default of Python 3.14, forkserver, starts interpreters that cannot import a program without a
        # file.
        default: Any = multiprocessing.context._default_context
        default._default_context = multiprocessing.get_context("fork")
    # No __pycache__ in the user's folders: a helper module that is rewritten within a second at the same size
    # would be loaded from the stale cache.
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
    """Close every descriptor from 3 on except `wanted`. No object may close them a second time."""
    first = 3
    for descriptor in sorted(wanted):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _HIGHEST_DESCRIPTOR)


def _reset_signals() -> None:
    # Workers inherit ignored and blocked signals: the driver may run under nohup.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # CallScope enables it while a program runs
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
