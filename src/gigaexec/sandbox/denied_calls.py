"""Which system calls a confined process does not have, group by group with the reason.

A list of what is refused rather than of what is allowed: foreign code brings numerical libraries whose next
release makes calls that no list of today has. What is newer than the table of numbers does not exist for it.

Not here, because a filter sees numbers and no paths: chmod, chown, utime and setxattr on files outside the
scratch folder (`namespaces.remount_read_only`). Not here, because libraries use it: sched_setaffinity of
another process of the same user (a PID namespace hides them).
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

# What a condition may say of an argument; they count from 0. Where nothing else is said it is about the low
# 32 bits, which is all that the kernel reads of an int or of the flags here.


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The argument, after `& mask`, is none of these values."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class OneOf:
    """The argument is one of these values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnyBit:
    """The argument has at least one of these bits."""

    argument: int
    bits: int


@dataclass(frozen=True, slots=True)
class NotNull:
    """The argument, all 64 bits of it, is not 0."""

    argument: int


Condition = NoneOf | OneOf | AnyBit | NotNull


@dataclass(frozen=True, slots=True)
class DeniedCall:
    """A system call fails with `errno` if all conditions hold; without any it always does."""

    call: str
    errno: int
    when: tuple[Condition, ...] = ()


# With EPERM, whatever the arguments.
_REFUSED_ALWAYS = (
    # Other processes: their memory, registers, descriptors and what they wait for. Same user suffices.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease"),
    *("pidfd_getfd", "kcmp", "migrate_pages", "move_pages"),
    # Large parts of the kernel that numerical code has no use for, with a history of holes.
    *("bpf", "perf_event_open", "userfaultfd", "fanotify_init", "lookup_dcookie", "nfsservctl"),
    # Keys of the user, which every process of the user shares.
    *("add_key", "request_key", "keyctl"),
    # What is mounted where. Also the way back from read-only mounts.
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick"),
    *("mount_setattr", "pivot_root", "chroot", "statmount", "listmount"),
    # Namespaces: in a new one of users a process has every capability again.
    *("unshare", "setns"),
    # Files by handle rather than by path, past every check of folders.
    *("open_by_handle_at", "name_to_handle_at"),
    # The machine: code of the kernel, power, swap, accounting, quotas, clock, ports, log, console, name.
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "acct", "quotactl", "quotactl_fd"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    *("iopl", "ioperm", "modify_ldt", "syslog", "vhangup", "sethostname", "setdomainname"),
    # What others do in every folder that this user can read, also where no path rule lets it look.
    *("inotify_init", "inotify_init1"),
    # System V IPC and POSIX queues of the same user, which no path rule covers. Python uses neither.
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)

# io_uring makes sockets and opens files of its own accord, past this filter. clone3 passes its flags in
# memory, where a filter cannot look. For all, ENOSYS is the answer that libraries have a way around.
# Memory files that are under way on a socket are in no process's memory and open in none, so that no limit
# finds them; /dev/shm, which has a size, takes their place.
_NOT_THERE = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"),
    *("memfd_create", "memfd_secret"),
    # Pins whole pages of memory in pipes, where no limit finds them.
    "vmsplice",
    # Requests of asynchronous reads are counted for the whole machine.
    "io_setup",
)

# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. And CLONE_PARENT, by which
# a child would be its grandparent's, which does not look for it.
_CLONE_NEW = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_CLONE_PARENT = 0x00008000
# asm-generic/ioctls.h and linux/tty.h: type into the terminal, paste into the console.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_ASK_PERSONALITY = 0xFFFFFFFF
# linux/socket.h and linux/in.h: two ways to connect past Landlock's rule for it.
_MSG_FASTOPEN = 0x20000000
_IPPROTO_MPTCP = 262
# linux/net.h: type without SOCK_NONBLOCK and SOCK_CLOEXEC.
_SOCK_TYPE_MASK = 0xF
_PRIO_PROCESS = 0
_IOPRIO_WHO_PROCESS = 1

# asm-generic/mman-common.h. Such memory need not be in the process that holds it, and has no descriptor.
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
# linux/prctl.h: hides a process's memory maps and files from those who watch its limits.
_PR_SET_DUMPABLE = 4
# linux/fcntl.h: leases and delegations keep everybody else from opening a file; F_NOTIFY spies on a folder.
_F_SETLEASE, _F_NOTIFY, _F_SETDELEG = 1024, 1026, 1040

_REFUSED_BY_ARGUMENT = (
    DeniedCall("mmap", errno.EPERM, (AnyBit(3, _MAP_SHARED), AnyBit(3, _MAP_ANONYMOUS))),
    DeniedCall("prctl", errno.EPERM, (OneOf(0, (_PR_SET_DUMPABLE,)),)),
    DeniedCall("fcntl", errno.EPERM, (OneOf(1, (_F_SETLEASE, _F_NOTIFY, _F_SETDELEG)),)),
    DeniedCall("clone", errno.EPERM, (AnyBit(0, _CLONE_NEW | _CLONE_PARENT),)),
    DeniedCall("ioctl", errno.EPERM, (OneOf(1, (_TIOCSTI, _TIOCLINUX)),)),
    # Turns off address randomisation and other protections of what is executed next.
    DeniedCall("personality", errno.EPERM, (NoneOf(0, (0, _ASK_PERSONALITY)),)),
    # A datagram socket from a pair can still be pointed at any other one, for example at the system's log;
    # the other types are connected for good.
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
    """All that is refused.

    Args:
        allow_network: Let sockets of IPv4 and IPv6 be made. Names are looked up without AF_NETLINK as well.

    Returns:
        In any order, but several for one call apply one after the other.
    """
    families = (socket.AF_INET, socket.AF_INET6) if allow_network else ()
    return (
        *(DeniedCall(call, errno.EPERM) for call in _REFUSED_ALWAYS),
        *(DeniedCall(call, errno.ENOSYS) for call in _NOT_THERE),
        *_REFUSED_BY_ARGUMENT,
        DeniedCall("socket", errno.EACCES, (NoneOf(0, families),) if families else ()),
        # A pair of sockets can be given names, which other calls of the backend could see.
        *(DeniedCall(call, errno.EACCES) for call in (() if families else ("bind", "listen"))),
        DeniedCall("socket", errno.EPROTONOSUPPORT, (OneOf(2, (_IPPROTO_MPTCP,)),)),
    )
