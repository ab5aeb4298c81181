"""R62: a thread that submits a call does no work that may take long: no sample, no kill, no long transfer."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gigaexec import Limits, LokyBackend, WorkerCall, WorkerConfig
from gigaexec.pool import worker_channel
from gigaexec.pool.jobs import Job
from gigaexec.pool.supervision import process_tree, running_call
from gigaexec.pool.supervision.sampling import sample_tree
from gigaexec.pool.worker_channel import WorkerChannel
from gigaexec.wire.descriptors import send_with_descriptors
from tests.conftest import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ONE = WorkerCall("def f():\n    return 1", "f")


@contextmanager
def _warm_backend() -> Iterator[LokyBackend]:
    """Yield a backend with an idle worker, which the submitting thread can send a call to."""
    backend = LokyBackend(WorkerConfig(max_workers=1))
    try:
        assert asyncio.run(backend.run(ONE, deadline_s=60)).value == 1
        yield backend
    finally:
        backend.shutdown_now(wait=True)


def test_a_sample_is_not_taken_by_the_submitting_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampling_threads: list[int] = []

    def observed(*args: Any) -> Any:
        sampling_threads.append(threading.get_ident())
        return sample_tree(*args)

    monkeypatch.setattr(running_call, "sample_tree", observed)
    with _warm_backend() as backend:
        for _ in range(20):
            limits = Limits(memory_bytes=2**30)
            outcome = asyncio.run(backend.run(ONE, deadline_s=60, limits=limits))
            assert outcome.value == 1
    assert len(sampling_threads) >= 20
    assert threading.get_ident() not in sampling_threads


def test_a_worker_that_cannot_be_sent_a_call_is_not_killed_by_the_submitting_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    this_thread = threading.get_ident()
    killers: list[int] = []
    has_refused = False
    send_to_child = process_tree.send_to_child

    def refuse_this_thread_once(connection: Any, *args: Any) -> int:
        nonlocal has_refused
        if not has_refused and threading.get_ident() == this_thread:
            has_refused = True
            raise OSError(errno.ETOOMANYREFS, "Too many references")
        return send_with_descriptors(connection, *args)

    def observed(*args: Any) -> bool:
        killers.append(threading.get_ident())
        return send_to_child(*args)

    def was_refused() -> bool:
        assert asyncio.run(backend.run(ONE, deadline_s=60)).value == 1
        return has_refused

    with _warm_backend() as backend:
        monkeypatch.setattr(worker_channel, "send_with_descriptors", refuse_this_thread_once)
        monkeypatch.setattr(process_tree, "send_to_child", observed)
        wait_until(was_refused, what="expected that the submitting thread sends a call to an idle worker")
        assert killers
        assert this_thread not in killers


def test_a_long_call_is_sent_in_turns_to_a_worker_that_reads_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    size, sent, sent_in_turn = 64 << 20, 0, [0]

    def send_at_once(_: Any, frames: list[memoryview], __: Any) -> int:
        nonlocal sent
        count = min(256 << 10, len(frames[0]))
        sent_in_turn[-1] += count
        sent += count
        return count

    monkeypatch.setattr(worker_channel, "send_with_descriptors", send_at_once)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = WorkerChannel(ours, "0" * 12)
        job = Job([bytes(size)], deadline_s=60, queue_timeout_s=None, on_ended=lambda _: None)
        sent_at = channel.send(job)
        while sent_at is None:
            assert channel.is_waiting_to_send
            sent_in_turn.append(0)
            sent_at = channel.send_more()
    assert sent == size
    assert max(sent_in_turn) <= 2 << 20
