"""The installed seccomp filter: calls that the kernel refuses, and calls that must still work."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gigaexec.sandbox.denied_calls import denied_calls
from gigaexec.sandbox.seccomp import SeccompFilter, build_program
from gigaexec.sandbox.system_calls import library_call, system_call
from tests.unit.sandbox.confined import ChildKilled, errno_of, in_child
from tests.unit.sandbox.conftest import Folders

_CLONE_NEWUSER, _SIGCHLD = 0x10000000, 17
_MSG_FASTOPEN = 0x20000000


def install(**allowed: bool) -> None:
    SeccompFilter(build_program(denied_calls(**allowed))).install()


def filtered(attempt: Callable[[], object], user: int | None = None, **allowed: bool) -> object:
    def confine() -> object:
        install(**allowed)
        return attempt()

    return in_child(confine, user)


def raw_clone(flags: int) -> None:
    if system_call("clone", flags | _SIGCHLD, None, None, None, None) == 0:
        os._exit(0)
    os.wait()


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (lambda: socket.socket(socket.AF_INET), "EACCES"),
        (lambda: socket.socket(socket.AF_UNIX), "EACCES"),
        (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), "EACCES"),
        (lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM), "EACCES"),
        (lambda: system_call("io_uring_setup", 1, bytes(120)), "ENOSYS"),
        (lambda: system_call("clone3", bytes(64), 64), "ENOSYS"),
        (lambda: raw_clone(_CLONE_NEWUSER), "EPERM"),
        (lambda: raw_clone(0), ""),
        (lambda: library_call("unshare", _CLONE_NEWUSER), "EPERM"),
        (lambda: system_call("ptrace", 0, 0, None, None), "EPERM"),
        (lambda: system_call("bpf", 0, bytes(64), 64), "EPERM"),
        (lambda: system_call("keyctl", 0, -3, 0), "EPERM"),
        (lambda: system_call("shmget", 0, 4096, 0o1600), "EPERM"),
        (lambda: library_call("personality", 0xFFFFFFFF), ""),
        (lambda: library_call("personality", 0x0040000), "EPERM"),
    ],
)
def test_refused_calls(attempt: Callable[[], object], expected: str, user: int) -> None:
    assert filtered(lambda: errno_of(attempt), user) == expected


def run_machine_code(code: bytes) -> int:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    with mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=protection) as memory:
        memory.write(code)
        address = ctypes.c_char.from_buffer(memory)
        result: int = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(address))()
        del address
    return result


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has 32-bit system calls by int 0x80")
def test_32_bit_calls_kill() -> None:
    get_pid = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
    try:
        unfiltered = in_child(lambda: run_machine_code(get_pid) == os.getpid())
    except ChildKilled:
        pytest.skip("this kernel has no 32-bit system calls")
    if not unfiltered:
        pytest.skip("this kernel has no 32-bit system calls")
    with pytest.raises(ChildKilled) as killed:
        filtered(lambda: run_machine_code(get_pid))
    assert killed.value.name == "SIGSYS"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has x32 system calls")
def test_x32_calls_are_refused() -> None:
    get_pid = b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"  # mov eax, 0x40000027; syscall; ret
    assert filtered(lambda: run_machine_code(get_pid)) == -errno.ENOSYS


def test_a_thread_that_runs_already_is_filtered_as_well(user: int) -> None:
    def confine() -> object:
        installed, outcome = threading.Event(), []

        def attempt() -> None:
            installed.wait()
            outcome.append(errno_of(lambda: socket.socket(socket.AF_INET)))

        thread = threading.Thread(target=attempt)
        thread.start()
        install()
        installed.set()
        thread.join()
        return outcome

    assert in_child(confine, user) == ["EACCES"]


def test_a_socket_that_was_open_cannot_connect_by_sending(user: int) -> None:
    def confine() -> object:
        with socket.socket(socket.AF_INET) as server, socket.socket(socket.AF_INET) as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            install()
            return errno_of(lambda: client.sendto(b"data", _MSG_FASTOPEN, server.getsockname()))

    assert in_child(confine, user) == "ENOTSUP"  # the same number as EOPNOTSUPP


def test_a_stream_pair_cannot_be_turned_to_another_socket(folders: Folders, user: int) -> None:
    """Show why the filter allows stream socket pairs and refuses datagram pairs."""
    path = str(folders.outside / "socket")

    def attempts(kind: int) -> Callable[[], object]:
        def attempt() -> object:
            one, other = socket.socketpair(socket.AF_UNIX, kind)
            other.close()
            return errno_of(lambda: one.connect(path)), errno_of(lambda: one.sendto(b"x", path))

        return attempt

    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as server:
            server.bind(path)
            server.listen()
            os.chown(path, user, user)
            outcome = filtered(attempts(kind), user)
        assert outcome in (["EISCONN", "EISCONN"], ["EISCONN", "EPIPE"])
        Path(path).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        os.chown(path, user, user)
        # Without the filter, one end of a datagram pair can connect to another socket.
        assert in_child(attempts(socket.SOCK_DGRAM), user)[0] == ""
