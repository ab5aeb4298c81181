"""Ends a worker process when its driver or its parent ends, or after a failure of the engine."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
from os import _exit, write as _write
from typing import NoReturn

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
# asm-generic/fcntl.h: F_SETSIG sets the signal that O_ASYNC sends. Python's fcntl lacks F_SETSIG before 3.12.
_F_SETSIG = 10

EXIT_BROKEN = 70
"""Exit code of a process whose engine failed: EX_SOFTWARE of sysexits.h."""


def die_with_driver(lifeline: int, driver_pid: int, enable_pdeathsig: bool) -> list[str]:
    """Have the kernel kill this process when the driver ends, whatever this process is doing.

    Args:
        lifeline: The read end of a pipe. Only the driver has the write end, and the driver writes nothing.
            End of file means that the driver has ended.
        driver_pid: The driver's process id, to detect a driver that has already ended.
        enable_pdeathsig: True to have the kernel kill this process as soon as the driver thread that started
            this process ends, even if the driver goes on (`PR_SET_PDEATHSIG`, Linux only).

    Returns:
        Warnings for the log.
    """
    os.set_inheritable(lifeline, False)
    warnings = []
    if sys.platform == "linux":
        # The kernel sends the signal, so a C loop that holds the GIL cannot delay the kill.
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        if enable_pdeathsig:
            warnings += die_with_parent()
    else:
        watch_lifeline_on_thread(lifeline)
    if os.getppid() != driver_pid or _is_at_end(lifeline):
        os._exit(1)  # the driver ended before the signals were set up
    return warnings


def watch_lifeline_on_thread(lifeline: int) -> None:
    """Start a thread that kills this process at end of file on the lifeline.

    For systems whose kernel cannot kill the process. A C loop that holds the GIL delays the kill until the
    loop ends.
    """

    def watch() -> None:
        os.set_blocking(lifeline, True)
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="gigaexec-lifeline", daemon=True).start()


def outlive_driver(lifeline: int) -> None:
    """Undo `die_with_driver`. Linux only. Afterwards the caller must detect the end of the driver."""
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_NONBLOCK)
    prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, 0)


def die_with_parent() -> list[str]:
    """Have the kernel kill this process when the *thread* that forked it ends. Returns warnings to log."""
    return prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)


def exit_broken(process: str, error: BaseException) -> NoReturn:
    """Report a failure of the engine on descriptor 2, and end this process at once.

    Args:
        process: "worker" or "template", for the message.
        error: The failure.
    """
    try:
        # Call functions that were bound at import: the program may have replaced functions of `os`.
        text = f"gigaexec: the {process} failed: {type(error).__name__}: {error}\n"
        _write(2, text.encode(errors="replace"))
    finally:
        _exit(EXIT_BROKEN)


def prctl(name: str, option: int, value: int) -> list[str]:
    """Call prctl(2) with an option that takes one argument.

    Args:
        name: Name of the option, for the warning.
        option: Number of the option, from linux/prctl.h.
        value: The option's argument.

    Returns:
        A list with one warning to log if the kernel refused, otherwise an empty list.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) == 0:
        return []
    number = ctypes.get_errno()
    return [f"prctl({name}) failed: errno {number} ({os.strerror(number)})"]


def _is_at_end(lifeline: int) -> bool:
    try:
        return not os.get_blocking(lifeline) and os.read(lifeline, 1) == b""
    except BlockingIOError:
        return False
