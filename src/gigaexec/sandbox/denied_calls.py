"""The system calls that the seccomp filter denies to a confined process, grouped by reason.

This is a deny list, not an allow list: the next release of a numerical library may make system calls that an
allow list of today would lack. System calls newer than the table in `call_numbers` fail with ENOSYS.

Two kinds of calls are left out on purpose:

- chmod, chown, utime and setxattr on files outside of the scratch folder. A seccomp filter sees pointers to
  paths, but cannot read the paths. `namespaces.remount_read_only` makes these calls fail.
- sched_setaffinity on another process of the same user. Libraries use sched_setaffinity, and a PID namespace
  hides the other processes.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

# Conditions on one argument of a system call. Arguments are numbered from 0. All conditions except NotNull
# test only the low 32 bits, because the kernel ignores the high bits of the arguments that are tested in this
# module.


@dataclass(frozen=True, slots=True)
class NoneOf:
    """True if the argument's value, masked with `mask`, equals none of `values`."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class OneOf:
    """True if the argument's value equals one of `values`."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnyBit:
    """True if at least one bit of `bits` is set in the argument's value."""

    argument: int
    bits: int


@dataclass(frozen=True, slots=True)
class NotNull:
    """True if any of the argument's 64 bits is set."""

    argument: int


Condition = NoneOf | OneOf | AnyBit | NotNull


@dataclass(frozen=True, slots=True)
class DeniedCall:
    """A rule: the system call fails with `errno` if all conditions of `when` are true.

    Args:
        call: Name of the system call, as in its manual page.
        errno: The errno with which the system call fails.
        when: Conditions on the arguments. Empty: the system call always fails.
    """

    call: str
    errno: int
    when: tuple[Condition, ...] = ()


# System calls that fail with EPERM, whatever the arguments.
_DENIED_ALWAYS = (
    # Access to memory, registers and descriptors of other processes of the same user.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease"),
    *("pidfd_getfd", "kcmp", "migrate_pages", "move_pages"),
    # Large kernel subsystems that numerical code does not use, with a history of vulnerabilities.
    *("bpf", "perf_event_open", "userfaultfd", "fanotify_init", "lookup_dcookie", "nfsservctl"),
    # Kernel keyrings, which all processes of the user share.
    *("add_key", "request_key", "keyctl"),
    # Mounts: with these calls, a program could undo the read-only mounts.
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick"),
    *("mount_setattr", "pivot_root", "chroot", "statmount", "listmount"),
    # Namespaces: in a new user namespace a process has every capability again.
    *("unshare", "setns"),
    # Opening a file by handle instead of by path bypasses the permission checks on its folders.
    *("open_by_handle_at", "name_to_handle_at"),
    # Settings of the machine: kernel modules, power, swap, process accounting, quotas, clock, I/O ports,
    # kernel log, console, host name.
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "acct", "quotactl", "quotactl_fd"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    *("iopl", "ioperm", "modify_ldt", "syslog", "vhangup", "sethostname", "setdomainname"),
    # inotify reports file events in every folder that this user can read, even if no Landlock rule allows it.
    *("inotify_init", "inotify_init1"),
    # System V IPC and POSIX message queues are shared by all processes of the user, and Landlock does not
    # control them. Python uses neither.
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)

# System calls that fail with ENOSYS, because libraries have fallbacks for a missing system call.
# io_uring can create sockets and open files without system calls that a seccomp filter sees. clone3 takes its
# flags from memory, which a filter cannot read. A memfd that is queued in a socket is open in no process, so
# the memory limits miss it. Programs can use /dev/shm instead of a memfd: the size of /dev/shm is limited.
_DENIED_AS_MISSING = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"),
    *("memfd_create", "memfd_secret"),
    # vmsplice pins whole pages of memory in pipes, where the memory limits miss these pages.
    "vmsplice",
    # Asynchronous I/O requests have one limit for the whole machine (fs.aio-max-nr); a program could use it
    # up.
    "io_setup",
)

# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. With CLONE_PARENT, the new
# process becomes a child of the caller's parent. That parent is our supervisor or init, which expects no
# second child.
_CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CLONE_PARENT = 0x00008000
# asm-generic/ioctls.h and linux/tty.h: TIOCSTI inserts input into a terminal, TIOCLINUX into the console.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ASK_PERSONALITY = 0xFFFFFFFF
# linux/socket.h and linux/in.h. Landlock does not control TCP connections made by MSG_FASTOPEN or MPTCP.
_MSG_FASTOPEN = 0x20000000
_IPPROTO_MPTCP = 262
# linux/net.h: this mask removes SOCK_NONBLOCK and SOCK_CLOEXEC from a socket type.
_SOCK_TYPE_MASK = 0xF
_PRIO_PROCESS = 0
_IOPRIO_WHO_PROCESS = 1

# asm-generic/mman-common.h. Shared anonymous memory is charged to no process and has no descriptor, so the
# memory limits miss it.
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
# linux/prctl.h: a process that is not dumpable hides its memory maps and open files from the driver, which
# reads them to enforce the limits.
_PR_SET_DUMPABLE = 4
# linux/fcntl.h: a lease or delegation on a file blocks other processes that open the file. F_NOTIFY reports
# events in a folder.
_F_SETLEASE, _F_NOTIFY, _F_SETDELEG = 1024, 1026, 1040

_DENIED_BY_ARGUMENT = (
    DeniedCall("mmap", errno.EPERM, (AnyBit(3, _MAP_SHARED), AnyBit(3, _MAP_ANONYMOUS))),
    DeniedCall("prctl", errno.EPERM, (OneOf(0, (_PR_SET_DUMPABLE,)),)),
    DeniedCall("fcntl", errno.EPERM, (OneOf(1, (_F_SETLEASE, _F_NOTIFY, _F_SETDELEG)),)),
    DeniedCall("clone", errno.EPERM, (AnyBit(0, _CLONE_NEW | _CLONE_PARENT),)),
    DeniedCall("ioctl", errno.EPERM, (OneOf(1, (_TIOCSTI, _TIOCLINUX)),)),
    # personality can turn off address randomisation and other protections of the next executed program.
    DeniedCall("personality", errno.EPERM, (NoneOf(0, (0, _ASK_PERSONALITY)),)),
    # A datagram socket from socketpair() can be reconnected, for example to the system's log. Stream and
    # seqpacket sockets cannot be reconnected.
    DeniedCall("socketpair", errno.EACCES, (NoneOf(0, (socket.AF_UNIX,)),)),
    DeniedCall(
        "socketpair",
        errno.EACCES,
        (NoneOf(1, (socket.SOCK_STREAM, socket.SOCK_SEQPACKET), _SOCK_TYPE_MASK),),
    ),
    DeniedCall("sendto", errno.EOPNOTSUPP, (AnyBit(3, _MSG_FASTOPEN),)),
    DeniedCall("sendmsg", errno.EOPNOTSUPP, (AnyBit(2, _MSG_FASTOPEN),)),
    DeniedCall("sendmmsg", errno.EOPNOTSUPP, (AnyBit(3, _MSG_FASTOPEN),)),
    # A program may not change limits and priorities of other processes. Process id 0 means the caller itself.
    DeniedCall("prlimit64", errno.EPERM, (NoneOf(0, (0,)), NotNull(2))),
    DeniedCall("sched_setscheduler", errno.EPERM, (NoneOf(0, (0,)),)),
    DeniedCall("sched_setparam", errno.EPERM, (NoneOf(0, (0,)),)),
    DeniedCall("sched_setattr", errno.EPERM, (NoneOf(0, (0,)),)),
    DeniedCall("setpriority", errno.EPERM, (NoneOf(0, (_PRIO_PROCESS,)),)),
    DeniedCall("setpriority", errno.EPERM, (NoneOf(1, (0,)),)),
    DeniedCall("ioprio_set", errno.EPERM, (NoneOf(0, (_IOPRIO_WHO_PROCESS,)),)),
    DeniedCall("ioprio_set", errno.EPERM, (NoneOf(1, (0,)),)),
)


def denied_calls(*, allow_network: bool = False) -> tuple[DeniedCall, ...]:
    """Return all rules of the seccomp filter.

    Args:
        allow_network: True to allow IPv4 and IPv6 sockets. AF_NETLINK stays denied: name resolution works
            without AF_NETLINK.

    Returns:
        The rules. Rules for the same system call are tested in this order. Otherwise the order does not
        matter.
    """
    families = (socket.AF_INET, socket.AF_INET6) if allow_network else ()
    return (
        *(DeniedCall(call, errno.EPERM) for call in _DENIED_ALWAYS),
        *(DeniedCall(call, errno.ENOSYS) for call in _DENIED_AS_MISSING),
        *_DENIED_BY_ARGUMENT,
        DeniedCall("socket", errno.EACCES, (NoneOf(0, families),) if families else ()),
        # With bind, a program could give a socket from socketpair() an abstract name, to which programs of
        # other calls could connect.
        *(DeniedCall(call, errno.EACCES) for call in (() if families else ("bind", "listen"))),
        DeniedCall("socket", errno.EPROTONOSUPPORT, (OneOf(2, (_IPPROTO_MPTCP,)),)),
    )
