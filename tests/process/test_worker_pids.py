"""R62: the pids that worker hooks report."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gigaexec import ForkserverBackend, WorkerCall, WorkerConfig
from gigaexec.pool.starters.forked_process import ForkedProcess
from gigaexec.wire.descriptors import OwnedDescriptor
from tests.conftest import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: ForkserverBackend")


def _is_reaped(pidfd: int) -> bool:
    return "Pid:\t-1\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii")


@pytest.mark.parametrize("killed", [(0, 1), (1,)], ids=["root and worker", "worker"])
def test_r62_a_worker_that_dies_before_its_handshake_is_not_reported_as_started(
    killed: Sequence[int], spill_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims: list[int] = []
    started: list[int] = []
    exited: list[int] = []
    complete_handshake = ForkedProcess.complete_handshake

    def after_death(self: ForkedProcess, files: Sequence[OwnedDescriptor]) -> int:
        if len(victims) < 2:
            worker = files[1].number
            victims.append(worker)
            for index in killed:
                signal.pidfd_send_signal(files[index].number, signal.SIGKILL)
            wait_until(lambda: _is_reaped(worker))
        return complete_handshake(self, files)

    monkeypatch.setattr(ForkedProcess, "complete_handshake", after_death)
    backend = ForkserverBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    backend.on_worker_start(lambda _, pid: started.append(pid))
    backend.on_worker_exit(lambda _, pid, __: exited.append(pid))
    try:
        outcome = asyncio.run(backend.run(WorkerCall("def f():\n    return 1", "f"), deadline_s=60))
    finally:
        backend.shutdown_now(wait=True)
    assert outcome.value == 1
    assert started
    assert all(pid > 1 and pid != os.getpid() for pid in started)
    assert set(exited) <= set(started)
