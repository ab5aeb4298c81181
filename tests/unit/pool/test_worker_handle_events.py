"""R33: after a worker's death, the other events of its descriptors in the same selector round are skipped."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import subprocess

import pytest

from gigaexec.config import WorkerConfig
from gigaexec.pool.worker_handle import WorkerHandle
from gigaexec.pool.worker_process import WorkerPipes, WorkerProcess


class _Process(WorkerProcess):
    """A worker process backed by a plain subprocess."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process

    def open_pidfd(self) -> int:
        return os.pidfd_open(self.pid)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self, pidfd: int | None) -> bool:
        self._process.kill()
        return True

    def exit_code(self) -> int:
        return self._process.wait()

    def forget_after_fork(self) -> None:
        pass

    def dispose(self) -> None:
        pass


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_r33_events_after_a_worker_s_death_in_the_same_round_are_skipped(order: tuple[int, ...]) -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ours, theirs = socket.socketpair()
    lifeline, our_lifeline = os.pipe()
    outputs = [os.pipe(), os.pipe()]
    pipes = WorkerPipes(ours, our_lifeline, outputs[0][0], outputs[1][0])
    deaths: list[WorkerHandle] = []

    def on_death(handle: WorkerHandle) -> None:
        deaths.append(handle)
        handle.close()

    with selectors.DefaultSelector() as selector:
        WorkerHandle(
            "0" * 12,
            _Process(child),
            pipes,
            selector,
            WorkerConfig(),
            on_message=lambda *_: None,
            on_death=on_death,
            on_limit=lambda *_: None,
        )
        for _, writer in outputs:
            os.write(writer, b"text")
            os.close(writer)
        theirs.send(b"\0")
        theirs.close()
        os.close(lifeline)
        ready = selector.select(timeout=10)
        assert len(ready) == 4, "expected death, channel and both outputs in one round"
        for index in order:
            key, events = ready[index]
            key.data(key.fd, events)
        assert len(deaths) == 1
        assert not selector.get_map()
    child.wait()
