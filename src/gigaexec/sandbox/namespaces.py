"""Enters and sets up namespaces of users, processes, mounts, network and System V IPC.

Make the calls in this order. It is the cheapest order in which each call has the privileges that it needs:

    ids = user_and_group()
    unshare(NEW_USER | NEW_PID | NEW_NETWORK | NEW_IPC | NEW_MOUNTS)
    write_identity_map(*ids)
    fork                                           the child is PID 1 of the new namespace
        mount_proc()                               /proc of that namespace
        remount_read_only(), make_writable(scratch)
        capabilities, Landlock, seccomp

No interface is up in the new network namespace, not even loopback.
"""

from __future__ import annotations

import errno
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
# struct mount_attr: attributes to set, attributes to clear, propagation, user namespace for id mapping.
_MOUNT_ATTR = struct.Struct("=QQQQ")
_ALL_PRIVATE_AND_READ_ONLY = _MOUNT_ATTR.pack(_MOUNT_ATTR_RDONLY, 0, _MS_PRIVATE, 0)
_WITHOUT_DEVICES = _MOUNT_ATTR.pack(_MOUNT_ATTR_NODEV, 0, 0, 0)
_WRITABLE = _MOUNT_ATTR.pack(_MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, _MOUNT_ATTR_RDONLY, 0, 0)

_ALL_IDS = 0xFFFFFFFF  # the number of ids: 2**32 - 1, because the highest 32-bit value means "no id"

# The sysctl that limits the number of user namespaces. If the limit is 0, unshare(2) fails with ENOSPC.
_LIMIT = "user.max_user_namespaces"
# Distribution sysctls that disable unprivileged user namespaces, and the value that does so; unshare(2) or
# the write of the id map then fails with EPERM or EACCES. A container's seccomp filter may deny unshare(2) as
# well.
_RESTRICTIONS = (
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
)


def unshare(flags: int) -> None:
    """Move this process into new namespaces. NEW_PID affects only children that are forked later.

    With NEW_USER, this process has all capabilities in the other new namespaces.

    Args:
        flags: One or more NEW_ constants, combined with `|`.

    Raises:
        OSError: EPERM if the system forbids new namespaces, EINVAL for NEW_USER while a second thread runs,
            ENOSPC if the limit on namespaces is reached.
    """
    library_call("unshare", flags)


def setns(descriptor: int, kind: int) -> None:
    """Move this process into an existing namespace. NEW_PID affects only children that are forked later.

    Args:
        descriptor: An open file of /proc/PID/ns, or a pidfd.
        kind: For a file of /proc/PID/ns, the NEW_ constant of the file. For a pidfd, any combination of the
            NEW_ constants.

    Raises:
        OSError: EINVAL if the namespace is not of that kind, EPERM if this process lacks privileges over the
            namespace.
    """
    library_call("setns", descriptor, kind)


def reason_for_no_user_namespace(error: OSError) -> str:
    """Return the reason why the kernel refused a user namespace, as a text for people.

    Args:
        error: The error raised by `unshare` or `write_identity_map`.

    Returns:
        The sysctl that caused the error, if certain. Otherwise the error's text, followed by the sysctls that
        may have caused the error.
    """
    if error.errno == errno.ENOSPC and _is_setting(_LIMIT, "0"):
        return f"user namespaces are not allowed ({_LIMIT} is 0)"
    settings = ""
    if error.errno in (errno.EPERM, errno.EACCES):
        settings = "; ".join(
            f"{name} is {value}" for name, value in _RESTRICTIONS if _is_setting(name, value)
        )
    return f"{error} ({settings})" if settings else str(error)


def user_and_group() -> tuple[int, int]:
    """Return the user id and group id for `write_identity_map`.

    Call it before `unshare`: afterwards this process sees the overflow id instead of its user and group id.
    """
    return os.geteuid(), os.getegid()


def write_identity_map(user: int, group: int) -> None:
    """Map this process's user and group id to themselves in its new user namespace. Needs no privilege.

    In the namespace, the files of all other users belong to `nobody`, and no capability gives access to them.

    Args:
        user: The effective user id outside of the namespace.
        group: The effective group id outside of the namespace.

    Raises:
        OSError: The kernel refused. EACCES may also mean that this process is not dumpable (PR_SET_DUMPABLE),
            for example because it changed its user id.
    """
    # Deny setgroups first: only then may an unprivileged process write the group map.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def write_full_identity_map(pid: int) -> None:
    """Map all ids to themselves in another process's new user namespace.

    Then the other process's capabilities give access to the files of all users. The other process must drop
    its capabilities before it runs untrusted code.

    Args:
        pid: Id of the other process. This process must be in the parent user namespace, and have CAP_SETUID
            and CAP_SETGID there.

    Raises:
        OSError: EPERM if this process lacks CAP_SETUID or CAP_SETGID.
    """
    _write(f"/proc/{pid}/uid_map", f"0 0 {_ALL_IDS}")
    _write(f"/proc/{pid}/gid_map", f"0 0 {_ALL_IDS}")


def make_mounts_private() -> None:
    """Stop the propagation of mounts into and out of this mount namespace. Call after unshare(NEW_MOUNTS).

    Raises:
        OSError: The kernel refused.
    """
    library_call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)


def mount_proc(target: str = "/proc", *, is_read_only: bool = False) -> None:
    """Mount a /proc that shows this process's PID namespace.

    Without a new user namespace, call `make_mounts_private` first: otherwise the mount propagates out of this
    mount namespace.

    Args:
        target: Mount point.
        is_read_only: True to protect the kernel settings in /proc. User 0 can change many kernel settings
            without any capability.

    Raises:
        OSError: The kernel refused. EPERM may also mean that other mounts hide parts of the current /proc, as
            in containers: an unprivileged process may not mount a /proc that shows the hidden parts.
    """
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | (_MS_RDONLY if is_read_only else 0)
    library_call("mount", b"proc", os.fsencode(target), b"proc", flags, None)


def remount_read_only() -> None:
    """Make every mount read-only and private. Call only after a successful unshare(NEW_MOUNTS).

    Read-only mounts make chmod, chown, utime and setxattr fail, which Landlock does not control. A folder
    descriptor that was opened before unshare still refers to the writable mount: close all such descriptors.
    Existing devices, named pipes and sockets stay writable.

    Raises:
        OSError: The kernel refused, and changed no mount. ENOSYS before Linux 5.12.
    """
    _set_attributes(b"/", _AT_RECURSIVE, _ALL_PRIVATE_AND_READ_ONLY)


def make_writable(folder: str) -> None:
    """Make a folder writable again after `remount_read_only`, and disable setuid programs and devices in it.

    Only this process's mount namespace and later copies of the namespace change. Mounts below the folder stay
    read-only.

    Raises:
        OSError: EPERM if the folder's mount was read-only before `remount_read_only`. The error names the
            folder.
    """
    path = os.fsencode(folder)
    try:
        # MS_REC is required: in a user namespace, the kernel refuses a bind mount that would uncover
        # inherited mounts below the folder.
        library_call("mount", path, path, None, _MS_BIND | _MS_REC, None)
        _set_attributes(path, 0, _WRITABLE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, folder) from error


def close_device(path: str) -> None:
    """Make a device impossible to open in this process's mount namespace and in later copies of it.

    Raises:
        OSError: The kernel refused, or the file is missing (ENOENT).
    """
    device = os.fsencode(path)
    library_call("mount", device, device, None, _MS_BIND, None)
    _set_attributes(device, 0, _WITHOUT_DEVICES)


def mount_memory(target: str, size_bytes: int) -> None:
    """Mount an empty tmpfs in this mount namespace. The kernel removes the tmpfs with the namespace.

    Args:
        target: Mount point.
        size_bytes: Size limit of the file system.

    Raises:
        OSError: The kernel refused.
    """
    options = f"size={size_bytes},mode=1777".encode("ascii")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    library_call("mount", b"tmpfs", os.fsencode(target), b"tmpfs", flags, options)


def _is_setting(name: str, value: str) -> bool:
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", "rb") as file:
            return file.read().strip() == value.encode()
    except OSError:
        return False  # this kernel has no such setting


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
