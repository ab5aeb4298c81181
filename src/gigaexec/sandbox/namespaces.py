"""Own users, processes, mounts, network and System V IPC.

The cheapest order, in which each step has the rights that it needs:

    ids = user_and_group()
    unshare(NEW_USER | NEW_PID | NEW_NETWORK | NEW_IPC | NEW_MOUNTS)
    write_identity_map(*ids)
    fork                                           the child is process 1 of the new PID namespace
        mount_proc()                               shows that namespace alone
        remount_read_only(), make_writable(scratch)
        capabilities, Landlock, seccomp

Nothing is brought up in the new network: not even the loopback address answers.
"""

from __future__ import annotations

import os
import struct

from gigaexec.sandbox.system_calls import library_call, system_call

# linux/sched.h
NEW_MOUNTS = 0x00020000
NEW_IPC = 0x08000000
NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_NETWORK = 0x40000000

# linux/mount.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
# linux/fcntl.h
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
# struct mount_attr: what to set, what to clear, how mounts propagate, a user namespace to map ids by.
_MOUNT_ATTR = struct.Struct("=QQQQ")
_ALL_PRIVATE_AND_READ_ONLY = _MOUNT_ATTR.pack(_MOUNT_ATTR_RDONLY, 0, _MS_PRIVATE, 0)
_WITHOUT_DEVICES = _MOUNT_ATTR.pack(_MOUNT_ATTR_NODEV, 0, 0, 0)
_WRITABLE = _MOUNT_ATTR.pack(_MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, _MOUNT_ATTR_RDONLY, 0, 0)

_ALL_IDS = 0xFFFFFFFF  # of 32 bits; the last one, -1, is no id


def unshare(flags: int) -> None:
    """Move this process into new namespaces; of processes (NEW_PID) its next child.

    A process that asks for NEW_USER together with others has all capabilities over those.

    Args:
        flags: Any of the NEW_ constants.

    Raises:
        OSError: EPERM where it is not allowed, EINVAL if NEW_USER is asked for with a second thread
            running, ENOSPC at the limit of namespaces.
    """
    library_call("unshare", flags)


def setns(descriptor: int, kind: int) -> None:
    """Move this process into an existing namespace; of processes (NEW_PID) its next child.

    Args:
        descriptor: An open file of /proc/PID/ns, or a pidfd.
        kind: The NEW_ constant of that file; of a pidfd any of them together.

    Raises:
        OSError: It is of another kind (EINVAL), or this process has no rights over it (EPERM).
    """
    library_call("setns", descriptor, kind)


def user_and_group() -> tuple[int, int]:
    """What `write_identity_map` needs, asked before `unshare`: after it both read as the overflow id."""
    return os.geteuid(), os.getegid()


def write_identity_map(user: int, group: int) -> None:
    """Give this process its ids back, inside the user namespace that it has just made. Needs no privilege.

    Files of every other user belong to `nobody` then, and no capability reaches them.

    Args:
        user: The effective user id that it had outside.
        group: Likewise its effective group id.

    Raises:
        OSError: The kernel refused. EACCES also where the process is not dumpable, for example because
            it has changed its user id since it executed a program (PR_SET_DUMPABLE).
    """
    # Before the group map, which an unprivileged process may write only where setgroups is off.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def write_full_identity_map(pid: int) -> None:
    """Give another process, in a user namespace that it has just made, all ids as they are outside.

    Its capabilities then reach the files of all users, so it must drop them before it runs foreign code.

    Args:
        pid: That process; this one must be in the parent namespace, with CAP_SETUID and CAP_SETGID.

    Raises:
        OSError: EPERM without these capabilities.
    """
    _write(f"/proc/{pid}/uid_map", f"0 0 {_ALL_IDS}")
    _write(f"/proc/{pid}/gid_map", f"0 0 {_ALL_IDS}")


def make_mounts_private() -> None:
    """Keep what this process mounts from showing up outside, and the reverse. After unshare(NEW_MOUNTS).

    Raises:
        OSError: The kernel refused.
    """
    library_call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)


def mount_proc(target: str = "/proc", *, is_read_only: bool = False) -> None:
    """Mount the /proc of this process's own PID namespace. Call it as a process in that namespace.

    Args:
        target: Where.
        is_read_only: Many of the kernel's settings there belong to user 0, who needs no capability to change
            them.

    A new user namespace makes the mounts of a new mount namespace receive only, so nothing of this shows
    outside. Without one call `make_mounts_private` first.

    Raises:
        OSError: EPERM also where parts of the present /proc are covered by other mounts, as in containers:
            an unprivileged process must not uncover them.
    """
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | (_MS_RDONLY if is_read_only else 0)
    library_call("mount", b"proc", os.fsencode(target), b"proc", flags, None)


def remount_read_only() -> None:
    """Make every mount read-only and private. After unshare(NEW_MOUNTS), which must have been successful.

    This is what stops chmod, chown, utime and setxattr, which Landlock does not control. A descriptor of a
    folder that was opened before unshare still leads to the writable mount: close all of them. Devices, pipes
    and sockets that exist can be written to as before.

    Raises:
        OSError: Nothing is read-only; ENOSYS before Linux 5.12.
    """
    _set_attributes(b"/", _AT_RECURSIVE, _ALL_PRIVATE_AND_READ_ONLY)


def make_writable(folder: str) -> None:
    """Make a folder writable again where `remount_read_only` made all mounts read-only.

    In this process's mount namespace and its copies alone, without setuid programs and devices. What is
    mounted below the folder stays read-only.

    Raises:
        OSError: EPERM if its mount was read-only outside. Names the folder.
    """
    path = os.fsencode(folder)
    try:
        # Recursive: a user namespace may not uncover what others mounted below.
        library_call("mount", path, path, None, _MS_BIND | _MS_REC, None)
        _set_attributes(path, 0, _WRITABLE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, folder) from error


def close_device(path: str) -> None:
    """Let nobody open a device any more, in this process's mount namespace and its copies.

    Raises:
        OSError: The kernel refused, or there is no such file (ENOENT).
    """
    device = os.fsencode(path)
    library_call("mount", device, device, None, _MS_BIND, None)
    _set_attributes(device, 0, _WITHOUT_DEVICES)


def mount_memory(target: str, size_bytes: int) -> None:
    """Mount an empty file system in memory, which is gone with this mount namespace.

    Raises:
        OSError: The kernel refused.
    """
    options = f"size={size_bytes},mode=1777".encode("ascii")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    library_call("mount", b"tmpfs", os.fsencode(target), b"tmpfs", flags, options)


def _set_attributes(path: bytes, flags: int, attributes: bytes) -> None:
    system_call("mount_setattr", _AT_FDCWD, path, flags, attributes, len(attributes))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)
