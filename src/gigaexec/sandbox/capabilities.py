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

# linux/capability.h: header of capget and capset for sets of 64 bits, of this process.
_HEADER = struct.pack("=Ii", 0x20080522, 0)
_NO_CAPABILITIES = bytes(24)
# linux/prctl.h
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# linux/securebits.h, each bit locked: executing a program as user 0 gives no capabilities (NOROOT), changing
# ids does not change capabilities (NO_SETUID_FIXUP), ambient capabilities cannot be raised.
_SECURE_BITS = 0b11 << 0 | 0b11 << 2 | 0b10 << 4 | 0b11 << 6
_CAPABILITY_LIMIT = 64  # bits in a set; the kernel answers EINVAL after its last one, 40 in Linux 6.18


def drop_all_capabilities() -> None:
    """Set NO_NEW_PRIVILEGES, then empty the bounding, ambient, inheritable, permitted and effective sets.

    On return this process has no capability in any user namespace, and no program that it executes gains one.
    An ordinary user may not empty the bounding set; then only NO_NEW_PRIVILEGES stops setuid programs.

    Raises:
        OSError: A step failed; some of the sets may be empty.
    """
    set_no_new_privileges()
    if _empty_bounding_set():
        prctl(PR_SET_SECUREBITS, _SECURE_BITS)
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    system_call("capset", _HEADER, _NO_CAPABILITIES)


def give_up_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets only. Programs executed as user 0 regain them.

    Raises:
        OSError: The kernel refused.
    """
    system_call("capset", _HEADER, _NO_CAPABILITIES)


def _empty_bounding_set() -> bool:
    """Empty the bounding set. Return False if this process lacks the privilege."""
    dropped, number = prctl_each(PR_CAPBSET_DROP, range(_CAPABILITY_LIMIT))
    if dropped == 0 and number == errno.EPERM:
        return False
    if dropped == 0 or number not in (0, errno.EINVAL):
        raise OSError(number, os.strerror(number), "prctl(PR_CAPBSET_DROP)")
    return True  # EINVAL is the answer to the number after the kernel's last capability
