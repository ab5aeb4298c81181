"""R113: a process that takes long to die delays no other call, and is dead before its call ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gigaexec import LokyBackend, OutcomeStatus, WorkerCall, WorkerConfig
from gigaexec.pool.supervision import process_tree
from tests.conftest import wait_until
from tests.process.scripts import is_running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STARTS_A_CHILD_AND_HANGS = """
import subprocess, time
def f(path):
    child = subprocess.Popen(["sleep", "600"])
    with open(path, "w") as file:
        file.write(f"{child.pid}\\n")
    time.sleep(600)
"""

STARTS_A_CHILD_AND_EXITS = """
import os, subprocess
def f(path):
    child = subprocess.Popen(["sleep", "600"])
    with open(path, "w") as file:
        file.write(f"{child.pid}\\n")
    os._exit(7)
"""


class _SlowDeath:
    """Makes a process look alive for longer, as the driver would see a process with gigabytes of memory."""

    def __init__(self, pid_file: Path, is_alive: Callable[[int], bool]) -> None:
        self._pid_file = pid_file
        self._is_alive = is_alive
        self.was_killed = threading.Event()
        self.may_die = threading.Event()

    def pid(self) -> int:
        try:
            text = self._pid_file.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        return int(text) if text.endswith("\n") else 0

    def is_alive(self, pid: int) -> bool:
        if pid != self.pid():
            return self._is_alive(pid)
        if not self._is_alive(pid):
            self.was_killed.set()
        return not self.may_die.is_set()


@contextmanager
def _loky(max_workers: int) -> Iterator[LokyBackend]:
    backend = LokyBackend(WorkerConfig(max_workers=max_workers))
    try:
        yield backend
    finally:
        backend.shutdown_now(wait=True)


@pytest.fixture
def slow_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _SlowDeath:
    death = _SlowDeath(tmp_path / "pid", process_tree._is_alive)
    monkeypatch.setattr(process_tree, "_is_alive", death.is_alive)
    return death


@pytest.mark.parametrize(
    ("program", "status"),
    [
        (STARTS_A_CHILD_AND_HANGS, OutcomeStatus.TIMED_OUT),
        (STARTS_A_CHILD_AND_EXITS, OutcomeStatus.CRASHED),
    ],
    ids=["killed", "crashed"],
)
def test_r113_a_slow_death_delays_its_own_call_only(
    program: str,
    status: OutcomeStatus,
    slow_death: _SlowDeath,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        with _loky(2) as backend:
            slow = asyncio.create_task(
                backend.run(WorkerCall(program, "f", [str(tmp_path / "pid")]), deadline_s=1)
            )
            await asyncio.to_thread(slow_death.was_killed.wait, 20)
            for number in range(20):
                other = await backend.run(WorkerCall("def f(x): return x", "f", [number]), deadline_s=20)
                assert (other.status, other.value) == (OutcomeStatus.OK, number)
            assert not slow.done(), "expected the outcome after the death of all processes of its call"
            slow_death.may_die.set()
            outcome = await slow
            assert outcome.status is status
            assert not is_running(slow_death.pid())

    asyncio.run(run())
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_r113_the_lock_of_the_pool_is_free_while_processes_are_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    locked: list[bool] = []
    send = process_tree._send

    async def run() -> None:
        with _loky(1) as backend:

            def observed(pid: int, number: signal.Signals) -> None:
                locked.append(backend._pool._dispatcher._lock.locked())  # type: ignore[union-attr]
                send(pid, number)

            monkeypatch.setattr(process_tree, "_send", observed)
            call = WorkerCall(STARTS_A_CHILD_AND_HANGS, "f", [str(tmp_path / "pid")])
            outcome = await backend.run(call, deadline_s=1)
            assert outcome.status is OutcomeStatus.TIMED_OUT

    asyncio.run(run())
    assert locked
    assert not any(locked)


def test_r113_a_killed_call_with_much_memory_ends_without_errors_in_the_log(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    program = """
import os, subprocess, sys, time
def f(path):
    child = subprocess.Popen([sys.executable, "-c", "import sys; x = bytearray(b'1') * (400 << 20); input()"],
        stdin=subprocess.PIPE)
    while int(open(f"/proc/{child.pid}/statm").read().split()[1]) < 100_000:
        time.sleep(0.01)
    with open(path, "w") as file:
        file.write(f"{child.pid}\\n")
    time.sleep(600)
"""
    pid_file = tmp_path / "pid"

    async def run() -> None:
        with _loky(1) as backend:
            task = asyncio.create_task(backend.run(WorkerCall(program, "f", [str(pid_file)]), deadline_s=60))
            await asyncio.to_thread(wait_until, pid_file.exists, 50.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not is_running(int(pid_file.read_text(encoding="ascii")))

    asyncio.run(run())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
