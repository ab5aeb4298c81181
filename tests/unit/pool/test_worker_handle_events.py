"""R33, R34: events of a worker that is dying or dead."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import subprocess
from collections.abc import Iterator

import pytest

from gigaexec.config import WorkerConfig
from gigaexec.pool.endings.ending import Death
from gigaexec.pool.jobs import EndingKind, Job
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


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is killed."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_r34_the_rest_of_a_call_is_not_sent_to_a_dying_worker(child: subprocess.Popen[bytes]) -> None:
    ours, theirs = socket.socketpair()
    lifeline, our_lifeline = os.pipe()
    outputs = [os.pipe(), os.pipe()]
    pipes = WorkerPipes(ours, our_lifeline, outputs[0][0], outputs[1][0])
    with selectors.DefaultSelector() as selector:
        handle = WorkerHandle(
            "0" * 12,
            _Process(child),
            pipes,
            selector,
            WorkerConfig(),
            on_message=lambda *_: None,
            on_death=lambda _: None,
            on_limit=lambda *_: None,
        )
        job = Job([bytes(16 << 20)], deadline_s=60, queue_timeout_s=None, on_ended=lambda _: None)
        handle.send(job, 0.0)
        handle.kill(Death(EndingKind.TIMED_OUT))
        theirs.recv(16 << 20)
        key, events = next(found for found in selector.select(timeout=10) if found[0].fd == ours.fileno())
        assert events & selectors.EVENT_WRITE, "expected room in the socket"
        theirs.close()
        key.data(key.fd, selectors.EVENT_WRITE)
        handle.kill(Death(EndingKind.WORKER_DIED, "too late"))
        assert job.started_at is None
        assert handle.death == Death(EndingKind.TIMED_OUT)
        handle.close()
    for descriptor in (lifeline, outputs[0][1], outputs[1][1]):
        os.close(descriptor)


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
