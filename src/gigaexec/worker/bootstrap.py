"""Prepares a fresh process to become a worker or a template."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
from typing import Any

from gigaexec.worker.call.report import describe_exception

_HIGHEST_DESCRIPTOR = 1 << 20  # default of the sysctl fs.nr_open, the limit on descriptor numbers


def prepare_interpreter() -> None:
    """Reset signals and arguments, enable faulthandler, and disable the writing of bytecode files.

    Processes that are forked later inherit these settings.
    """
    sys.argv = [""]
    _reset_signals()
    faulthandler.enable(file=2, all_threads=True)
    if sys.platform == "linux":
        # Python 3.14 defaults to the start method forkserver. A forkserver is a new interpreter, which would
        # have to import the program, but the program has no file.
        default: Any = multiprocessing.context._default_context
        default._default_context = multiprocessing.get_context("fork")
    # With bytecode files, a helper module that is rewritten within one second, with the same size, would be
    # loaded from a stale __pycache__.
    sys.dont_write_bytecode = True


def preload(modules: tuple[str, ...]) -> str:
    """Import the modules in order. Return the error text of the first failed import; "" if all succeed."""
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
        pass  # not Linux, or a hardened container: the kernel then chooses the process by its memory size


def close_all_but(wanted: set[int]) -> None:
    """Close all descriptors from 3 on, except `wanted`.

    An object that owns a closed descriptor must not close the descriptor later: the number may be in use
    again.
    """
    first = 3
    for descriptor in sorted(wanted):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _HIGHEST_DESCRIPTOR)


def _reset_signals() -> None:
    # This process inherits ignored and blocked signals from the driver, which may run under nohup.
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ignored between calls: CallScope enables SIGINT for a call
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
