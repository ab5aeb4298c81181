"""R22, R23: the file with a large value belongs to the thread that reads it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gigaexec import ForkserverBackend, LokyBackend, WorkerCall, WorkerConfig
from gigaexec.pool import pool
from gigaexec.pool.pool import Pool
from tests.conftest import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: ForkserverBackend")

Backend = LokyBackend | ForkserverBackend
LARGE = WorkerCall("def f():\n    return 'x' * (1 << 20)", "f")


@pytest.fixture(params=[LokyBackend, ForkserverBackend])
def backend(request: pytest.FixtureRequest, spill_dir: Path) -> Iterator[Backend]:
    made: Backend = request.param(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    yield made
    made.shutdown_now(wait=True)


def test_r22_a_cancelled_caller_does_not_close_the_file_that_a_thread_reads(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_read = threading.Event(), threading.Event()
    read: list[Any] = []

    def slowly(function: Any) -> Any:
        def read_slowly(*args: Any, **options: Any) -> Any:
            is_reading.set()
            may_read.wait(60)
            try:
                read.append(function(*args, **options))
            except BaseException as error:
                read.append(error)
                raise
            return read[-1]

        return read_slowly

    for name in ("read_value_file", "read_spilled_value"):
        monkeypatch.setattr(pool, name, slowly(getattr(pool, name)))

    async def cancel_while_reading() -> None:
        task = asyncio.create_task(backend.run(LARGE, deadline_s=60))
        assert await asyncio.to_thread(is_reading.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]  # would take the closed number
        may_read.set()
        await asyncio.to_thread(wait_until, lambda: read)
        for other in others:
            os.close(other)

    asyncio.run(cancel_while_reading())
    assert not isinstance(read[0], BaseException), read
    assert len(read[0].contents) > 1 << 20
    read.clear()


def test_r23_a_value_that_has_arrived_is_read_after_a_shutdown(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_arrived = threading.Event()
    deliver = Pool._deliver

    def observed(*args: Any) -> None:
        deliver(*args)
        has_arrived.set()

    monkeypatch.setattr(Pool, "_deliver", observed)

    async def shut_down_before_reading() -> Any:
        task = asyncio.create_task(backend.run(LARGE, deadline_s=60))
        await asyncio.sleep(0)  # submits the call
        assert has_arrived.wait(60)  # blocks the event loop, so that the value is not read yet
        backend.shutdown_now(wait=True)
        return await task

    outcome = asyncio.run(shut_down_before_reading())
    assert outcome.error is None
    assert outcome.value == "x" * (1 << 20)
