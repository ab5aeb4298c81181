"""R33, R34: events of a worker that is dying or dead."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from gigaexec.config import WorkerConfig
from gigaexec.pool.endings.ending import Death
from gigaexec.pool.jobs import EndingKind, Job
from gigaexec.pool.supervision.process_tree import Killing
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

    def kill(self, pidfd: int | None) -> Killing:
        self._process.kill()
        yield 0.0
        return True

    def exit_code(self) -> int:
        return self._process.wait()

    def forget_after_fork(self) -> None:
        pass

    def dispose(self) -> None:
        pass


def new_handle(
    child: subprocess.Popen[bytes],
    pipes: WorkerPipes,
    selector: selectors.BaseSelector,
    *,
    on_exit: Callable[[WorkerHandle], None],
) -> WorkerHandle:
    """Return the handle of a worker whose messages, kills and limits are ignored."""
    return WorkerHandle(
        "0" * 12,
        _Process(child),
        pipes,
        selector,
        WorkerConfig(),
        start_kill=lambda *_: None,
        on_message=lambda *_: None,
        on_exit=on_exit,
        on_limit=lambda *_: None,
    )


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is killed."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@dataclass
class _SendingWorker:
    """A worker that is sent a call of 16 MiB, which fills its socket, and the driver's selector."""

    handle: WorkerHandle
    job: Job
    ours: socket.socket
    theirs: socket.socket
    selector: selectors.BaseSelector

    def drain(self) -> None:
        """Read everything that is in the socket."""
        self.theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.theirs.recv(1 << 20)

    def watched_events(self) -> int:
        """The events of the socket that the selector watches."""
        return self.selector.get_key(self.ours).events

    def deliver(self, events: int) -> None:
        """Call the callback of the socket, as the dispatcher does."""
        key = self.selector.get_key(self.ours)
        key.data.callback(key.fd, events)


@pytest.fixture
def sending(child: subprocess.Popen[bytes]) -> Iterator[_SendingWorker]:
    ours, theirs = socket.socketpair()
    lifeline, our_lifeline = os.pipe()
    outputs = [os.pipe(), os.pipe()]
    pipes = WorkerPipes(ours, our_lifeline, outputs[0][0], outputs[1][0])
    with selectors.DefaultSelector() as selector, theirs:
        handle = new_handle(child, pipes, selector, on_exit=lambda _: None)
        job = Job([bytes(16 << 20)], deadline_s=60, queue_timeout_s=None, on_ended=lambda _: None)
        handle.send(job, 0.0)
        yield _SendingWorker(handle, job, ours, theirs, selector)
        handle.close()
    for descriptor in (lifeline, outputs[0][1], outputs[1][1]):
        os.close(descriptor)


def test_r34_the_rest_of_a_call_is_not_sent_to_a_dying_worker(sending: _SendingWorker) -> None:
    assert sending.watched_events() & selectors.EVENT_WRITE
    sending.handle.kill(Death(EndingKind.TIMED_OUT))
    sending.drain()
    sending.deliver(selectors.EVENT_WRITE)
    with pytest.raises(BlockingIOError):
        sending.theirs.recv(1)  # nothing more was sent
    assert sending.job.started_at is None


def test_r34_a_dying_worker_keeps_the_cause_of_its_death(sending: _SendingWorker) -> None:
    sending.handle.kill(Death(EndingKind.TIMED_OUT))
    sending.handle.kill(Death(EndingKind.WORKER_DIED, "too late"))
    assert sending.handle.death == Death(EndingKind.TIMED_OUT)


def test_r33_a_worker_that_cannot_be_sent_its_call_is_sent_no_more(sending: _SendingWorker) -> None:
    sending.theirs.close()
    sending.deliver(selectors.EVENT_WRITE)
    assert sending.watched_events() == selectors.EVENT_READ
    sending.deliver(selectors.EVENT_READ)
    assert sending.job.started_at is None


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
        new_handle(child, pipes, selector, on_exit=on_death)
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
            key.data.callback(key.fd, events)
        assert len(deaths) == 1
        assert not selector.get_map()
    child.wait()
