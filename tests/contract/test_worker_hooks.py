"""R62: hooks for the start and exit of worker processes."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from gigaexec import Outcome, WorkerCall, WorkerObservable
from tests.conftest import wait_until
from tests.contract.conftest import Kind, MakeBackend


class _Journal:
    """A recorder of the starts and exits of a backend's workers."""

    def __init__(self, backend: Any) -> None:
        self.starts: list[tuple[str, int]] = []
        self.ends: list[tuple[str, int, int | None]] = []
        backend.on_worker_start(lambda *event: self.starts.append(event))
        backend.on_worker_exit(lambda *event: self.ends.append(event))

    def exit_code_of(self, worker_id: str) -> int | None:
        wait_until(lambda: worker_id in [event[0] for event in self.ends], what=f"exit of worker {worker_id}")
        ((_, _, code),) = [event for event in self.ends if event[0] == worker_id]
        return code


def test_r62_each_worker_that_started_ends_once(make_backend: MakeBackend) -> None:
    backend = make_backend()
    is_observable = isinstance(backend, WorkerObservable)
    assert is_observable
    journal = _Journal(backend)
    workers: set[tuple[str, int]] = set()

    async def calls() -> None:
        for body in ("return 1", "raise ValueError", "return 1"):
            outcome = await backend.run(WorkerCall(f"def f(): {body}", "f"), deadline_s=30)
            workers.add((outcome.metrics.worker_id, outcome.metrics.worker_pid))
        await backend.run(WorkerCall("import os\ndef f(): os._exit(1)", "f"), deadline_s=30)
        await backend.run(WorkerCall("def f():\n    while True: pass", "f"), deadline_s=0.2)
        await backend.shutdown(wait=True)

    asyncio.run(calls())
    assert workers <= set(journal.starts)
    assert len(set(journal.starts)) == len(journal.starts)
    assert sorted(journal.starts) == sorted((worker_id, pid) for worker_id, pid, _ in journal.ends)


@pytest.mark.parametrize(
    ("body", "expected"),
    [("os._exit(7)", 7), ("os._exit(0)", 0), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)],
)
def test_r62_the_exit_code_of_a_worker_is_reported(
    make_backend: MakeBackend, body: str, expected: int
) -> None:
    backend = make_backend(max_workers=1)
    journal = _Journal(backend)
    code = f"import os, sys\ndef f():\n    print(os.environ['GIGAEVO_WORKER_ID'], flush=True)\n    {body}"
    outcome: Outcome = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=30))
    assert journal.exit_code_of(outcome.output.stdout.strip()) == expected


def test_r62_the_exit_code_of_a_worker_after_a_successful_call(make_backend: MakeBackend, kind: Kind) -> None:
    backend = make_backend(max_workers=1)
    journal = _Journal(backend)
    outcome = asyncio.run(backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30))
    asyncio.run(backend.shutdown(wait=True))
    assert outcome.metrics is not None
    # Shutdown kills a reused worker; a worker for one call has already exited.
    assert journal.exit_code_of(outcome.metrics.worker_id) == (-9 if kind.reuses_workers else 0)


def test_r62_a_handler_that_raises_is_logged_and_affects_no_call(
    make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make_backend(max_workers=1)

    def broken(*_: object) -> None:
        raise LookupError("broken handler")

    backend.on_worker_start(broken)
    backend.on_worker_exit(broken)
    journal = _Journal(backend)

    async def calls() -> list[Any]:
        await backend.run(WorkerCall("import os\ndef f(): os._exit(1)", "f"), deadline_s=30)
        values = [await backend.execute(WorkerCall("def f(): return 5", "f"), deadline_s=30) for _ in "ab"]
        await backend.shutdown(wait=True)
        return values

    assert asyncio.run(calls()) == [5, 5]
    assert len(journal.starts) == len(journal.ends) > 0, "handlers after the broken one must be called"
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == len(journal.starts) + len(journal.ends)
    assert {record.getMessage().split()[1] for record in logged} == {"on_worker_start", "on_worker_exit"}
    assert all(record.exc_info and "broken handler" in str(record.exc_info[1]) for record in logged)
    logged.clear()
    caplog.clear()  # logged tracebacks hold frames of the pool, which hold its pipes


def test_r62_handlers_are_not_called_after_clear_hooks(make_backend: MakeBackend) -> None:
    backend = make_backend(max_workers=1)
    journal = _Journal(backend)
    backend.clear_hooks()
    assert asyncio.run(backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30)) == 1
    asyncio.run(backend.shutdown(wait=True))
    assert not journal.starts
    assert not journal.ends


def test_r62_handlers_run_on_a_thread_of_the_pool(make_backend: MakeBackend) -> None:
    backend = make_backend(max_workers=1, pool_id="pool-5")
    threads: set[str] = set()
    backend.on_worker_start(lambda *_: threads.add(threading.current_thread().name))
    backend.on_worker_exit(lambda *_: threads.add(threading.current_thread().name))
    asyncio.run(backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30))
    asyncio.run(backend.shutdown(wait=True))
    assert threads == {"gigaexec-pool-5"}
