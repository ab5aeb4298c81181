"""Drops the capabilities of this process and of every program that it executes."""

from __future__ import annotations

import errno
import os
import struct

from gigaexec.sandbox.system_calls import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_SECUREBITS,
    prctl,
    prctl_each,
    set_no_new_privileges,
    system_call,
)

# linux/capability.h: header for capset: version 3 (sets of 64 bits), and process id 0 (this process).
_HEADER = struct.pack("=Ii", 0x20080522, 0)
_NO_CAPABILITIES = bytes(24)
# linux/prctl.h
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# linux/securebits.h. NOROOT: executing a program as user 0 gives no capabilities. NO_SETUID_FIXUP: changing
# ids does not change capabilities. KEEP_CAPS stays off. NO_CAP_AMBIENT_RAISE: ambient capabilities cannot be
# raised. All four bits are locked.
_SECURE_BITS = 0b11 << 0 | 0b11 << 2 | 0b10 << 4 | 0b11 << 6
_CAPABILITY_LIMIT = 64  # bits in a set; above the last capability (40 in Linux 6.18) prctl fails with EINVAL


def drop_all_capabilities() -> None:
    """Set NO_NEW_PRIVILEGES, then empty the bounding, ambient, inheritable, permitted and effective sets.

    On return this process has no capability in any user namespace, and executing a program gives it none. A
    process without CAP_SETPCAP cannot empty its bounding set. Then only NO_NEW_PRIVILEGES prevents a setuid
    program from gaining capabilities.

    Raises:
        OSError: A system call failed. Some of the sets may already be empty.
    """
    set_no_new_privileges()
    if _empty_bounding_set():
        prctl(PR_SET_SECUREBITS, _SECURE_BITS)
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    system_call("capset", _HEADER, _NO_CAPABILITIES)


def give_up_capabilities() -> None:
    """Empty only the effective, permitted and inheritable sets.

    Executing a program as user 0 gives capabilities again.

    Raises:
        OSError: The kernel refused.
    """
    system_call("capset", _HEADER, _NO_CAPABILITIES)


def _empty_bounding_set() -> bool:
    """Empty the bounding set. Return False if this process lacks the privilege (CAP_SETPCAP)."""
    dropped, number = prctl_each(PR_CAPBSET_DROP, range(_CAPABILITY_LIMIT))
    if dropped == 0 and number == errno.EPERM:
        return False
    if dropped == 0 or number not in (0, errno.EINVAL):
        raise OSError(number, os.strerror(number), "prctl(PR_CAPBSET_DROP)")
    return True  # EINVAL only means that the number is above the kernel's last capability
