"""The BPF filter program for both architectures, run by an interpreter written in Python."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from gigaexec.sandbox.call_numbers import NEWEST_KNOWN_NUMBER
from gigaexec.sandbox.denied_calls import AnyBit, Condition, DeniedCall, NoneOf, NotNull, OneOf, denied_calls
from gigaexec.sandbox.seccomp import build_program
from gigaexec.sandbox.system_calls import number_of

ALLOW, FAIL, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
X32_BIT = 0x40000000
MACHINES = pytest.mark.parametrize("machine", ARCHITECTURES)


def run(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Interpret the filter for one system call and return its action. Instructions: linux/filter.h."""
    padded = [value & 0xFFFFFFFFFFFFFFFF for value in (*arguments, *(0,) * 6)][:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, constant = code[place]
        place += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x06:
                return int(constant)
            case 0x15 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == constant,
                    0x35: accumulator >= constant,
                    0x45: bool(accumulator & constant),
                }[operation]
                place += if_true if holds else if_false
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


def answer(machine: str, call: str, *arguments: int, **allowed: bool) -> str:
    """Return "" if the filter allows the call, otherwise the name of its errno."""
    number = number_of(call, machine)
    assert number is not None
    verdict = run(build_program(denied_calls(**allowed), machine), ARCHITECTURES[machine], number, arguments)
    return "" if verdict == ALLOW else errno.errorcode[verdict - FAIL]


@MACHINES
def test_each_number_gets_the_verdict_of_the_list(machine: str) -> None:
    listed = {number_of(refusal.call, machine): refusal for refusal in denied_calls()}
    unconditional = {number: FAIL | refusal.errno for number, refusal in listed.items() if not refusal.when}
    by_argument = {number for number, refusal in listed.items() if refusal.when}
    program = build_program(denied_calls(), machine)
    for number in range(NEWEST_KNOWN_NUMBER + 1):
        if number not in by_argument:
            verdict = run(program, ARCHITECTURES[machine], number)
            assert verdict == unconditional.get(number, ALLOW), f"wrong action for system call {number}"


@pytest.mark.parametrize(
    "call",
    [
        *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
        *("bpf", "perf_event_open", "userfaultfd", "fanotify_init", "keyctl", "add_key", "request_key"),
        *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick"),
        *("mount_setattr", "pivot_root", "chroot", "unshare", "setns"),
        *("open_by_handle_at", "name_to_handle_at", "init_module", "finit_module", "delete_module"),
        *("kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl"),
        *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "syslog", "vhangup"),
        *("sethostname", "setdomainname", "lookup_dcookie", "nfsservctl", "shmget", "mq_open"),
    ],
)
@MACHINES
def test_what_no_program_may_do(machine: str, call: str) -> None:
    assert answer(machine, call, allow_network=True) == "EPERM"


@MACHINES
@pytest.mark.parametrize("number", [NEWEST_KNOWN_NUMBER + 1, 1000, X32_BIT, X32_BIT | 1, 0xFFFFFFFF])
def test_newer_calls_and_those_of_x32_do_not_exist(machine: str, number: int) -> None:
    assert run(build_program(denied_calls(), machine), ARCHITECTURES[machine], number) == FAIL | errno.ENOSYS


@MACHINES
def test_every_call_of_another_architecture_kills(machine: str) -> None:
    program = build_program(denied_calls(), machine)
    others = [I386, *(value for name, value in ARCHITECTURES.items() if name != machine)]
    assert {run(program, other, number) for other in others for number in range(600)} == {KILL_PROCESS}


@MACHINES
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("clone", (17,), ""),
        ("clone", (0x3D0F00,), ""),  # the flags of glibc's pthread_create
        ("clone", (17 | 0x10000000,), "EPERM"),
        ("clone", (17 | 0x00020000,), "EPERM"),
        ("clone", (17 | 0x00008000,), "EPERM"),
        ("ioctl", (0, 0x5401), ""),
        ("ioctl", (0, 0x5412), "EPERM"),
        ("ioctl", (0, 0x541C), "EPERM"),
        ("ioctl", (0, 0x5412 | 1 << 32), "EPERM"),  # the kernel ignores the upper 32 bits
        ("personality", (0,), ""),
        ("personality", (0xFFFFFFFF,), ""),
        ("personality", (0x0040000,), "EPERM"),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_STREAM), ""),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC), ""),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_DGRAM), "EACCES"),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_RAW | socket.SOCK_NONBLOCK), "EACCES"),
        ("socketpair", (30, socket.SOCK_STREAM), "EACCES"),
        ("sendto", (3, 0, 0, 0), ""),
        ("sendto", (3, 0, 0, 0x20000000), "EOPNOTSUPP"),
        ("sendmsg", (3, 0, 0x20000000), "EOPNOTSUPP"),
        ("sendmmsg", (3, 0, 0, 0x20004000), "EOPNOTSUPP"),
        ("prlimit64", (0, 7, 0x7000), ""),
        ("prlimit64", (42, 7, 0), ""),
        ("prlimit64", (42, 7, 0x7000), "EPERM"),
        ("prlimit64", (42, 7, 1 << 32), "EPERM"),  # an address whose lower 32 bits are zero
        ("setpriority", (0, 0, 5), ""),
        ("setpriority", (0, 42, 5), "EPERM"),
        ("setpriority", (2, 0, 5), "EPERM"),
        ("sched_setscheduler", (0,), ""),
        ("sched_setscheduler", (42,), "EPERM"),
        ("ioprio_set", (1, 0), ""),
        ("ioprio_set", (3, 0), "EPERM"),
    ],
)
def test_calls_that_depend_on_their_arguments(
    machine: str, call: str, arguments: tuple[int, ...], expected: str
) -> None:
    number = errno.errorcode[errno.EOPNOTSUPP] if expected == "EOPNOTSUPP" else expected
    assert answer(machine, call, *arguments) == number


@MACHINES
@pytest.mark.parametrize(
    ("allowed", "families"),
    [
        ({}, set()),
        ({"allow_network": True}, {socket.AF_INET, socket.AF_INET6}),
    ],
)
def test_sockets_of_the_allowed_families(machine: str, allowed: dict[str, bool], families: set[int]) -> None:
    made = {family for family in range(64) if not answer(machine, "socket", family, 1, 0, **allowed)}
    assert made == families


@MACHINES
def test_multipath_tcp_is_no_way_to_the_network(machine: str) -> None:
    assert answer(machine, "socket", socket.AF_INET, 1, 262, allow_network=True) == "EPROTONOSUPPORT"


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (NoneOf(2, (3, 5)), 4, True),
        (NoneOf(2, (3, 5)), 5, False),
        (NoneOf(2, (3, 5), 0xF), 0x15, False),
        (NoneOf(2, ()), 5, True),
        (OneOf(2, (3, 5, 7)), 3, True),
        (OneOf(2, (3, 5, 7)), 5, True),
        (OneOf(2, (3, 5, 7)), 7, True),
        (OneOf(2, (3, 5, 7)), 4, False),
        (AnyBit(2, 6), 2, True),
        (AnyBit(2, 6), 9, False),
        (NotNull(2), 0, False),
        (NotNull(2), 1, True),
        (NotNull(2), 1 << 40, True),
    ],
)
def test_conditions(condition: Condition, value: int, holds: bool) -> None:
    # If the first refusal does not apply, the filter must reach the second one.
    pair = [DeniedCall("socket", errno.EPERM, (condition,)), DeniedCall("socket", errno.EACCES)]
    verdict = run(build_program(pair, "x86_64"), ARCHITECTURES["x86_64"], 41, (0, 0, value))
    assert verdict == FAIL | (errno.EPERM if holds else errno.EACCES)


def test_a_program_too_long_for_its_jumps_is_not_built() -> None:
    long = [DeniedCall("socket", errno.EPERM, (NoneOf(0, tuple(range(300))),))]
    with pytest.raises(ValueError, match="jump"):
        build_program(long, "x86_64")


def test_another_architecture_has_no_filter() -> None:
    with pytest.raises(OSError, match="riscv64"):
        build_program(denied_calls(), "riscv64")
