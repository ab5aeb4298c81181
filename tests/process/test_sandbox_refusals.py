"""Refused system calls with which a confined program could withhold or hide shared resources."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gigaexec import ForkserverBackend, Limits, OutcomeStatus, SandboxPolicy, WorkerCall, WorkerConfig


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[ForkserverBackend]:
    made = ForkserverBackend(
        WorkerConfig(max_workers=1, spill_dir=spill_dir, sandbox=SandboxPolicy.standard())
    )
    yield made
    made.shutdown_now(wait=True)


_PRELUDE = """
import ctypes, errno, fcntl, mmap, os, resource, socket
C = ctypes.CDLL(None, use_errno=True)

def error_of(result):
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "done"

def refused(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def f():
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return refused(lambda: fcntl.fcntl(os.open(os.__file__, 0), 1024, fcntl.F_RDLCK))", "EPERM"),
        ("return refused(lambda: fcntl.fcntl(os.open('/usr', 0), 1026, 1))", "EPERM"),
        ("return refused(lambda: mmap.mmap(-1, 4096))", "EPERM"),
        ("return refused(lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE))", "done"),
        ("return error_of(C.prctl(4, 0, 0, 0, 0))", "EPERM"),
        ("return error_of(C.vmsplice(1, None, 0, 0))", "ENOSYS"),
        ("return refused(lambda: socket.socketpair()[0].bind('\\0name'))", "EACCES"),
        ("return resource.getrlimit(resource.RLIMIT_CORE)", (1, 1)),
        ("return resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 256", True),
    ],
)
def test_system_calls_and_limits_of_a_confined_program(
    backend: ForkserverBackend, body: str, expected: object
) -> None:
    outcome = asyncio.run(backend.run(WorkerCall(f"{_PRELUDE}    {body}\n", "f"), deadline_s=30.0))
    assert outcome.value == expected, outcome


def test_a_process_whose_main_thread_has_ended_is_counted(backend: ForkserverBackend) -> None:
    code = """
import ctypes, os, threading, time
def f():
    if os.fork() == 0:
        hoard = []
        def fill():
            for _ in range(60):
                hoard.append(bytearray(os.urandom(1 << 20) * 5))
            time.sleep(60)
        threading.Thread(target=fill).start()
        ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
    time.sleep(60)
"""
    limits = Limits(memory_bytes=150 * 2**20)
    outcome = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=30.0, limits=limits))
    assert outcome.status is OutcomeStatus.MEMORY_EXCEEDED, outcome
