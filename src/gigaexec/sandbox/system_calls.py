"""Makes system calls, by number or through the C library. A failure raises an OSError that names the call.

The module can be imported on every platform. Functions that this system or processor lacks raise
OSError(ENOSYS).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

from gigaexec.sandbox.call_numbers import COLUMNS, NUMBERS

# linux/prctl.h
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47


@functools.cache
def this_machine() -> str:
    """Return the kernel's name of the processor, such as "x86_64"."""
    return os.uname().machine


def number_of(name: str, machine: str | None = None) -> int | None:
    """Return the number of a system call.

    Args:
        name: Name of the system call, as in its manual page.
        machine: "x86_64" or "aarch64"; None for this machine.

    Returns:
        The number; None if the architecture lacks the call.

    Raises:
        OSError: ENOSYS if the system is not Linux, or the architecture is neither x86_64 nor aarch64.
    """
    machine = machine or this_machine()
    if sys.platform != "linux" or machine not in COLUMNS:
        raise OSError(
            errno.ENOSYS, f"expected linux on x86_64 or aarch64, got {sys.platform} on {machine}", name
        )
    return NUMBERS[name][COLUMNS[machine]]


def system_call(name: str, *arguments: int | bytes | ctypes.Array[Any] | None) -> int:
    """Make a system call by number.

    Args:
        name: Name of the system call, as in its manual page.
        *arguments: At most six. Bytes and ctypes arrays are passed as the address of their first byte.

    Returns:
        The kernel's result, 0 or more.

    Raises:
        OSError: The call failed. The exception contains errno and the call's name.
    """
    number = number_of(name)
    if number is None:
        raise _failure(name, errno.ENOSYS)
    # Test the result, not errno: a successful call does not reset the errno of an earlier failure.
    result: int = _LIBRARY.syscall(number, *arguments, *_ZEROES[len(arguments) :])
    if result < 0:
        raise _failure(name, ctypes.get_errno())
    return result


def library_call(name: str, *arguments: int | bytes | None) -> int:
    """Call a function of the C library that returns -1 and sets errno when it fails.

    Raises:
        OSError: The call failed, or this C library lacks the function (ENOSYS).
    """
    function = getattr(_LIBRARY, name, None)
    if function is None:
        raise _failure(name, errno.ENOSYS)
    result: int = function(*arguments)
    if result < 0:
        raise _failure(name, ctypes.get_errno())
    return result


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2), which changes or reads an attribute of this process.

    Raises:
        OSError: The call failed.
    """
    # Some options require unused arguments to be zero.
    return library_call("prctl", option, *arguments, *_ZEROES[2 + len(arguments) :])


def prctl_each(option: int, values: Iterable[int]) -> tuple[int, int]:
    """Call prctl(2) with each value, until a call fails. Three times faster than calling `prctl` in a loop.

    Returns:
        The number of calls that succeeded, and the errno of the failed call; errno 0 if no call failed.
    """
    function = _LIBRARY.prctl
    done = 0
    for value in values:
        if function(option, value, 0, 0, 0) < 0:
            return done, ctypes.get_errno()
        done += 1
    return done, 0


def set_no_new_privileges() -> None:
    """Set NO_NEW_PRIVILEGES: no executed program gains privileges by setuid bits or file capabilities.

    Landlock and seccomp require this flag if the process lacks CAP_SYS_ADMIN. The flag cannot be cleared.

    Raises:
        OSError: The kernel refused.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


_ZEROES = (0,) * 6


def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    # Declare the arguments as pointers: ctypes converts integers, bytes, arrays and None to pointers, and
    # each pointer fills a whole register.
    library.syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6
    library.syscall.restype = ctypes.c_long
    if hasattr(library, "prctl"):
        library.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if hasattr(library, "mount"):
        library.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    for name in ("unshare", "setns"):
        getattr(library, name, None)  # looks up the symbol once, before any fork
    return library


# Loaded at import: otherwise each forked child would load the library again, which takes 1.5 ms.
_LIBRARY = _load_library()


def _failure(name: str, number: int) -> OSError:
    # OSError shows its third argument like a file name: "[Errno 1] Operation not permitted: 'unshare'".
    return OSError(number, os.strerror(number), name)
