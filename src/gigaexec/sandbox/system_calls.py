"""System calls by number and through the C library. A failure is an OSError that names the call.

The module can be imported everywhere: on macOS and on other processors the functions raise OSError(ENOSYS).
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from collections.abc import Iterable
from typing import Any

# Name -> number on x86_64 (asm/unistd_64.h) and aarch64 (asm-generic/unistd.h); None if the call is missing.
# From 424 on every architecture has the same numbers.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bind": (49, 200),
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fcntl": (72, 25),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "listen": (50, 201),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mmap": (9, 222),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "seccomp": (317, 277),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}
_COLUMNS = {"x86_64": 0, "aarch64": 1}

# The highest number in Linux 6.13 (removexattrat).
NEWEST_KNOWN_NUMBER = 466

# linux/prctl.h
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47


@functools.cache
def this_machine() -> str:
    """Return the kernel's name of the processor, such as "x86_64"."""
    return os.uname().machine


def number_of(name: str, machine: str | None = None) -> int | None:
    """Return the number of a system call.

    Args:
        name: As in its manual page.
        machine: "x86_64" or "aarch64"; None for this machine.

    Returns:
        None if the architecture lacks the call.

    Raises:
        OSError: ENOSYS, on an operating system or architecture whose numbers are not known here.
    """
    machine = machine or this_machine()
    if sys.platform != "linux" or machine not in _COLUMNS:
        raise OSError(errno.ENOSYS, f"system call numbers of {sys.platform} on {machine} are not known", name)
    return _NUMBERS[name][_COLUMNS[machine]]


def system_call(name: str, *arguments: int | bytes | ctypes.Array[Any] | None) -> int:
    """Make a system call by number.

    Args:
        name: As in its manual page.
        *arguments: At most six. Bytes and ctypes arrays are passed as the address of their first byte.

    Returns:
        The kernel's result, 0 or more.

    Raises:
        OSError: The call failed. It holds errno and the call's name.
    """
    number = number_of(name)
    if number is None:
        raise _failure(name, errno.ENOSYS)
    # The result decides, not errno: a successful call leaves an old errno.
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
    """Call prctl(2) with each value until a call fails. Three times faster than separate calls.

    Returns:
        Number of calls that succeeded, and errno of the call that failed, or 0.
    """
    function = _LIBRARY.prctl
    done = 0
    for value in values:
        if function(option, value, 0, 0, 0) < 0:
            return done, ctypes.get_errno()
        done += 1
    return done, 0


def set_no_new_privileges() -> None:
    """Set PR_SET_NO_NEW_PRIVS: no executed program gains privileges by setuid bits or file capabilities.

    Landlock and seccomp require it of a process without CAP_SYS_ADMIN. It cannot be undone.

    Raises:
        OSError: The kernel refused.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)


_ZEROES = (0,) * 6


def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    # Pointers, because ctypes converts integers, bytes, arrays and None to them, each as a full register.
    library.syscall.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6
    library.syscall.restype = ctypes.c_long
    if hasattr(library, "prctl"):
        library.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    if hasattr(library, "mount"):
        library.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    for name in ("unshare", "setns"):
        getattr(library, name, None)  # loads the symbol
    return library


# Loaded at import: otherwise each forked child would load the library again, which takes 1.5 ms.
_LIBRARY = _load_library()


def _failure(name: str, number: int) -> OSError:
    # OSError shows its third argument like a file name: "[Errno 1] Operation not permitted: 'unshare'".
    return OSError(number, os.strerror(number), name)
