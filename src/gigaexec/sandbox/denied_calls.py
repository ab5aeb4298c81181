"""The system calls that a confined process is denied, in groups with their reasons.

The list denies calls instead of allowing some, because the next release of a numerical library may make calls
that no allow list of today contains. Calls newer than the table of numbers fail with ENOSYS.

Not in the list, because a filter sees numbers and no paths: chmod, chown, utime and setxattr on files outside
of the scratch folder (`namespaces.remount_read_only` stops them). Not in the list, because libraries use it:
sched_setaffinity on another process of the same user (a PID namespace hides those processes).
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

# Conditions on an argument; arguments count from 0. All but NotNull test the low 32 bits only, because the
# kernel reads no more of the arguments below.


@dataclass(frozen=True, slots=True)
class NoneOf:
    """True if the argument, after `& mask`, is none of these values."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class OneOf:
    """True if the argument is one of these values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnyBit:
    """True if the argument has at least one of these bits."""

    argument: int
    bits: int


@dataclass(frozen=True, slots=True)
class NotNull:
    """True if the argument, all 64 bits, is not 0."""

    argument: int


Condition = NoneOf | OneOf | AnyBit | NotNull


@dataclass(frozen=True, slots=True)
class DeniedCall:
    """A rule: the system call fails with `errno` if all conditions of `when` are true.

    Args:
        call: As in its manual page.
        errno: The errno that the program gets.
        when: The conditions. Without any, the call always fails.
    """

    call: str
    errno: int
    when: tuple[Condition, ...] = ()


# Denied with EPERM, whatever the arguments.
_DENIED_ALWAYS = (
    # Memory, registers and descriptors of other processes of the same user.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease"),
    *("pidfd_getfd", "kcmp", "migrate_pages", "move_pages"),
    # Large kernel subsystems that numerical code does not use, with a history of vulnerabilities.
    *("bpf", "perf_event_open", "userfaultfd", "fanotify_init", "lookup_dcookie", "nfsservctl"),
    # Kernel keyrings, which all processes of the user share.
    *("add_key", "request_key", "keyctl"),
    # Mounts. They could also undo the read-only mounts.
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick"),
    *("mount_setattr", "pivot_root", "chroot", "statmount", "listmount"),
    # Namespaces: in a new user namespace a process has every capability again.
    *("unshare", "setns"),
    # Files by handle instead of by path, which bypasses every check of folders.
    *("open_by_handle_at", "name_to_handle_at"),
    # The machine: kernel modules, power, swap, accounting, quotas, clock, I/O ports, log, console, host name.
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "acct", "quotactl", "quotactl_fd"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    *("iopl", "ioperm", "modify_ldt", "syslog", "vhangup", "sethostname", "setdomainname"),
    # File events in every folder that this user can read, also in folders that no rule allows.
    *("inotify_init", "inotify_init1"),
    # System V IPC and POSIX message queues of the same user, which no rule covers. Python uses neither.
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)

# Denied with ENOSYS, for which libraries have fallbacks. io_uring can make sockets and open files without
# system calls that a filter sees. clone3 passes its flags in memory, which a filter cannot read. A memory
# file that is queued in a socket is open in no process, so the limits miss it; programs can use /dev/shm
# instead, whose size is limited.
_DENIED_AS_MISSING = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"),
    *("memfd_create", "memfd_secret"),
    # vmsplice pins whole pages of memory in pipes, where the limits miss them.
    "vmsplice",
    # The number of asynchronous I/O requests is limited for the whole machine.
    "io_setup",
)

# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. And CLONE_PARENT, which
# makes the child a child of the caller's parent, that is of our supervisor or init, which expects no further
# child.
_CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CLONE_PARENT = 0x00008000
# asm-generic/ioctls.h and linux/tty.h: insert input into a terminal, or into the console.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ASK_PERSONALITY = 0xFFFFFFFF
# linux/socket.h and linux/in.h: two ways to connect that Landlock does not control.
_MSG_FASTOPEN = 0x20000000
_IPPROTO_MPTCP = 262
# linux/net.h: type without SOCK_NONBLOCK and SOCK_CLOEXEC.
_SOCK_TYPE_MASK = 0xF
_PRIO_PROCESS = 0
_IOPRIO_WHO_PROCESS = 1

# asm-generic/mman-common.h. Shared anonymous memory is charged to no process, and has no descriptor.
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
# linux/prctl.h: hides a process's memory maps and open files from the driver that watches its limits.
_PR_SET_DUMPABLE = 4
# linux/fcntl.h: leases and delegations block other processes that open a file; F_NOTIFY watches a folder.
_F_SETLEASE, _F_NOTIFY, _F_SETDELEG = 1024, 1026, 1040

_DENIED_BY_ARGUMENT = (
    DeniedCall("mmap", errno.EPERM, (AnyBit(3, _MAP_SHARED), AnyBit(3, _MAP_ANONYMOUS))),
    DeniedCall("prctl", errno.EPERM, (OneOf(0, (_PR_SET_DUMPABLE,)),)),
    DeniedCall("fcntl", errno.EPERM, (OneOf(1, (_F_SETLEASE, _F_NOTIFY, _F_SETDELEG)),)),
    DeniedCall("clone", errno.EPERM, (AnyBit(0, _CLONE_NEW | _CLONE_PARENT),)),
    DeniedCall("ioctl", errno.EPERM, (OneOf(1, (_TIOCSTI, _TIOCLINUX)),)),
    # personality can turn off address randomisation and other protections of the next executed program.
    DeniedCall("personality", errno.EPERM, (NoneOf(0, (0, _ASK_PERSONALITY)),)),
    # A datagram socket of a pair can be reconnected, for example to the system's log; the other types cannot.
    DeniedCall("socketpair", errno.EACCES, (NoneOf(0, (socket.AF_UNIX,)),)),
    DeniedCall(
        "socketpair",
        errno.EACCES,
        (NoneOf(1, (socket.SOCK_STREAM, socket.SOCK_SEQPACKET), _SOCK_TYPE_MASK),),
    ),
    DeniedCall("sendto", errno.EOPNOTSUPP, (AnyBit(3, _MSG_FASTOPEN),)),
    DeniedCall("sendmsg", errno.EOPNOTSUPP, (AnyBit(2, _MSG_FASTOPEN),)),
    DeniedCall("sendmmsg", errno.EOPNOTSUPP, (AnyBit(3, _MSG_FASTOPEN),)),
    # Limits and priorities of other processes of the same user. 0 is the caller itself.
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
    """Return all rules.

    Args:
        allow_network: Allow IPv4 and IPv6 sockets. Name resolution works without AF_NETLINK.

    Returns:
        The rules. The order matters only between rules for one call, which apply one after the other.
    """
    families = (socket.AF_INET, socket.AF_INET6) if allow_network else ()
    return (
        *(DeniedCall(call, errno.EPERM) for call in _DENIED_ALWAYS),
        *(DeniedCall(call, errno.ENOSYS) for call in _DENIED_AS_MISSING),
        *_DENIED_BY_ARGUMENT,
        DeniedCall("socket", errno.EACCES, (NoneOf(0, families),) if families else ()),
        # A program could bind a socket of a pair to an abstract name, which other calls could connect to.
        *(DeniedCall(call, errno.EACCES) for call in (() if families else ("bind", "listen"))),
        DeniedCall("socket", errno.EPROTONOSUPPORT, (OneOf(2, (_IPPROTO_MPTCP,)),)),
    )
