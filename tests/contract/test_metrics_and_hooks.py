"""R60-R63: worker ids and metrics of calls, hooks, and log lines."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    CallCancelledError,
    CallTimeoutError,
    ExecutionMetrics,
    InvalidCallError,
    LifecycleObservable,
    Outcome,
    OutcomeStatus,
    QueueTimeoutError,
    WorkerCall,
)
from gigaexec.wire.descriptors import send_with_descriptors
from tests.conftest import wait_until
from tests.contract.conftest import Kind, MakeBackend, Run
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids


def _metrics(outcome: Outcome) -> ExecutionMetrics:
    assert outcome.metrics is not None
    return outcome.metrics


def test_r60_worker_id_and_node_id_are_in_metrics_and_environment(
    backend: Any, pids: RecordedPids, tmp_path: Path
) -> None:
    code = f"""{NOTE_PROCESS}
from os import environ, path
from time import monotonic, sleep
def f(pids, release):
    note_process(pids)
    limit = monotonic() + 60
    while not path.exists(release) and monotonic() < limit: sleep(0.005)
    return environ["GIGAEVO_WORKER_ID"], environ["GIGAEVO_NODE_ID"]
"""
    release = tmp_path / "release"

    async def scenario() -> tuple[Outcome, list[int]]:
        call = WorkerCall(code, "f", [pids.path, str(release)])
        task = asyncio.create_task(backend.run(call, deadline_s=60))
        await asyncio.to_thread(wait_until, pids.all)
        running_pids = pids.running()
        release.touch()
        return await task, running_pids

    outcome, running_pids = asyncio.run(scenario())
    metrics = _metrics(outcome)
    assert outcome.value == (metrics.worker_id, metrics.node_id)
    assert running_pids == [metrics.worker_pid]
    assert re.fullmatch("[0-9a-f]{12}", metrics.worker_id)
    assert metrics.node_id == socket.gethostname()
    assert metrics.worker_pid != os.getpid()


def test_r60_each_worker_process_has_a_unique_id(run: Run, kind: Kind) -> None:
    first = _metrics(run("def f(): pass"))
    again = _metrics(run("def f(): pass"))
    assert (again.worker_id == first.worker_id) is kind.reuses_workers
    run("import os\ndef f(): os._exit(1)")
    second = _metrics(run("def f(): pass"))
    assert second.worker_id not in (first.worker_id, again.worker_id)
    assert second.worker_pid not in (first.worker_pid, again.worker_pid)


def test_r60_the_node_id_can_be_set(make_backend: MakeBackend) -> None:
    backend = make_backend(node_id="pod-7")
    call = WorkerCall("import os\ndef f(): return os.environ['GIGAEVO_NODE_ID']", "f")
    outcome = asyncio.run(backend.run(call, deadline_s=30))
    assert outcome.value == outcome.metrics.node_id == "pod-7"


@pytest.mark.parametrize("end", ["return 1", "raise ValueError", "raise SystemExit", "return lambda: f"])
def test_r61_wall_time_is_the_difference_of_the_timestamps_however_a_call_ends(run: Run, end: str) -> None:
    metrics = _metrics(run(f"import time\ndef f():\n    time.sleep(0.05)\n    {end}"))
    assert metrics.wall_time_s == (metrics.finished_at_ns - metrics.started_at_ns) / 1e9
    assert 0.05 <= metrics.wall_time_s < 5
    assert metrics.peak_rss_kb > 5_000


def test_r61_cpu_time_is_that_of_the_call_and_of_children_that_it_waited_for(run: Run) -> None:
    burn = """
import os, time
def burn(s):
    start = time.process_time()
    while time.process_time() < start + s: pass
"""
    own = _metrics(run(f"{burn}def f(): burn(0.3)"))
    assert 0.29 <= own.user_time_s + own.sys_time_s < 2
    idle = _metrics(run("import time\ndef f(): time.sleep(0.3)"))
    assert idle.user_time_s + idle.sys_time_s < 0.2
    child = f"{burn}def f():\n    if os.fork() == 0:\n        burn(0.3)\n        os._exit(0)\n    os.wait()"
    metrics = _metrics(run(child))
    assert 0.29 <= metrics.user_time_s + metrics.sys_time_s < 2


def test_r61_peak_memory_is_that_of_the_call(run: Run) -> None:
    quiet = _metrics(run("def f(): pass")).peak_rss_kb
    loud = _metrics(run("def f(): return len(bytearray(b'x') * 100_000_000)")).peak_rss_kb
    again = _metrics(run("def f(): pass")).peak_rss_kb
    assert loud - quiet > 90_000
    assert again - quiet < 30_000


def test_r61_queue_start_and_run_time_are_measured_separately(
    make_backend: MakeBackend, tmp_path: Path
) -> None:
    backend = make_backend(max_workers=1)
    program = """
import os, time
def f(path):
    while not os.path.exists(path): time.sleep(0.01)
    time.sleep(0.3)
"""
    both_wait = tmp_path / "both_wait"
    submitted: list[WorkerCall] = []
    backend.on_submit(submitted.append)

    async def three() -> tuple[Outcome, Outcome]:
        first = await backend.run(WorkerCall(program, "f", ["/"]), deadline_s=30)
        call = WorkerCall(program, "f", [str(both_wait)])
        pair = [asyncio.create_task(backend.run(call, deadline_s=30)) for _ in range(2)]
        while len(submitted) < 3:  # the task that calls on_submit queues the call before it yields
            await asyncio.sleep(0.01)
        both_wait.touch()
        await pair[0]
        return first, await pair[1]

    first, second = asyncio.run(three())
    assert first.start_time_s > 0
    assert first.run_time_s >= 0.3
    assert second.start_time_s < 0.1
    assert second.queue_time_s >= 0.3
    assert second.run_time_s >= 0.3


def test_r61_a_delay_of_the_driver_after_it_sent_a_call_does_not_shorten_the_run_time(
    make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_and_pause(*args: Any) -> int:
        sent = send_with_descriptors(*args)
        time.sleep(0.2)  # as if the scheduler suspended the driver here
        return sent

    monkeypatch.setattr("gigaexec.pool.worker_channel.send_with_descriptors", send_and_pause)
    call = WorkerCall("import time\ndef f(): time.sleep(0.3)", "f")
    outcome = asyncio.run(make_backend(max_workers=1).run(call, deadline_s=30))
    assert outcome.run_time_s >= 0.3
    assert outcome.metrics is not None
    assert outcome.metrics.wall_time_s >= 0.3


class _Journal:
    """A recorder of all events of a backend."""

    def __init__(self, backend: Any) -> None:
        self.events: list[tuple[Any, ...]] = []
        backend.on_submit(lambda call: self.events.append(("submit", call)))
        backend.on_complete(lambda *ended: self.events.append(("complete", *ended)))
        backend.on_shutdown(lambda: self.events.append(("shutdown",)))

    def completed(self, call: WorkerCall) -> list[tuple[Any, ...]]:
        return [event[2:] for event in self.events if event[0] == "complete" and event[1] is call]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return 1", OutcomeStatus.OK),
        ("raise ValueError", OutcomeStatus.ERROR),
        ("return (n for n in ())", OutcomeStatus.ERROR),
        ("import os; os._exit(1)", OutcomeStatus.CRASHED),
        ("while True: pass", OutcomeStatus.TIMED_OUT),
    ],
)
def test_r62_on_complete_fires_once_per_submit_with_the_caller_s_metrics_and_error(
    backend: Any, body: str, status: OutcomeStatus
) -> None:
    journal = _Journal(backend)
    call = WorkerCall(f"def f():\n    {body}", "f")
    outcome = asyncio.run(backend.run(call, deadline_s=0.5))
    assert outcome.status is status
    assert journal.events == [("submit", call), ("complete", call, outcome.metrics, outcome.error)]


def test_r62_execute_fires_the_same_hooks_as_run(backend: Any) -> None:
    journal = _Journal(backend)
    call = WorkerCall("def f(): raise ValueError", "f")
    with pytest.raises(Exception, match="ValueError") as caught:
        asyncio.run(backend.execute(call, deadline_s=30))
    ((metrics, error),) = journal.completed(call)
    assert error is caught.value
    assert metrics is not None


def test_r62_on_complete_fires_once_for_cancelled_expired_and_shut_down_calls(
    make_backend: MakeBackend, tmp_path: Path
) -> None:
    backend = make_backend(max_workers=1)
    journal = _Journal(backend)
    mark = tmp_path / "mark"
    code = "import time\ndef f(mark):\n    open(mark, 'w').close()\n    time.sleep(600)"
    running, waiting, expiring, stopped = (WorkerCall(code, "f", [str(mark)]) for _ in range(4))

    async def scenario() -> None:
        run_task = asyncio.create_task(backend.run(running, deadline_s=60))
        await asyncio.to_thread(wait_until, mark.exists)
        wait_task = asyncio.create_task(backend.run(waiting, deadline_s=60))
        assert isinstance(
            (await backend.run(expiring, deadline_s=60, queue_timeout_s=0.05)).error, QueueTimeoutError
        )
        for task in (wait_task, run_task):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        stop_task = asyncio.create_task(backend.run(stopped, deadline_s=60))
        await asyncio.sleep(0)
        await backend.shutdown(wait=True)
        assert (await stop_task).status is OutcomeStatus.CANCELLED

    asyncio.run(scenario())
    kinds = {
        id(call): [type(error) for _, error in journal.completed(call)]
        for call in (running, waiting, expiring, stopped)
    }
    assert list(kinds.values()) == [
        [asyncio.CancelledError],
        [asyncio.CancelledError],
        [QueueTimeoutError],
        [CallCancelledError],
    ]
    assert [event[0] for event in journal.events].count("submit") == 4


def test_r62_a_refused_call_fires_both_on_submit_and_on_complete_or_neither(backend: Any) -> None:
    journal = _Journal(backend)
    for call, deadline_s in (
        (WorkerCall("def f(): pass", "f", [(n for n in range(2))]), 1.0),
        (WorkerCall("def f(): pass", "f"), -1.0),
        (WorkerCall("def f(): pass", "f"), float("nan")),
    ):
        with pytest.raises(ValueError, match=r"deadline_s must be|cannot be pickled"):
            asyncio.run(backend.run(call, deadline_s=deadline_s))
    names = [event[0] for event in journal.events]
    assert names.count("submit") == names.count("complete")
    with pytest.raises(InvalidCallError, match="must be a WorkerCall"):
        asyncio.run(backend.run("def f(): pass", deadline_s=1))


def test_r62_handlers_run_in_order_and_one_that_raises_is_logged_and_stops_no_other(
    backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def broken(*_: object) -> None:
        raise LookupError("broken handler")

    for register, event in (
        (backend.on_submit, "submit"),
        (backend.on_complete, "complete"),
        (backend.on_shutdown, "shutdown"),
    ):
        register(lambda *_, event=event: seen.append(f"{event} 1"))
        register(broken)
        register(lambda *_, event=event: seen.append(f"{event} 2"))

    async def one() -> Any:
        value = await backend.execute(WorkerCall("def f(): return 5", "f"), deadline_s=30)
        await backend.shutdown(wait=True)
        return value

    assert asyncio.run(one()) == 5
    assert seen == [f"{event} {number}" for event in ("submit", "complete", "shutdown") for number in (1, 2)]
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [re.findall("on_[a-z]+", record.getMessage())[0] for record in logged] == [
        "on_submit",
        "on_complete",
        "on_shutdown",
    ]
    assert all(record.exc_info and "broken handler" in str(record.exc_info[1]) for record in logged)


def test_r62_on_shutdown_fires_once_per_pool(backend: Any) -> None:
    journal = _Journal(backend)

    async def lives() -> None:
        for _ in range(2):
            await backend.execute(WorkerCall("def f(): pass", "f"), deadline_s=30)
            for wait in (False, True, True):
                await backend.shutdown(wait=wait)

    asyncio.run(lives())
    assert [event[0] for event in journal.events] == ["submit", "complete", "shutdown"] * 2


def test_r62_handlers_run_in_the_driver_and_the_backend_is_observable(backend: Any) -> None:
    places: list[int] = []
    is_observable = isinstance(backend, LifecycleObservable)
    assert is_observable
    backend.on_submit(lambda _: places.append(os.getpid()))
    backend.on_complete(lambda *_: places.append(os.getpid()))
    asyncio.run(backend.run(WorkerCall("def f(): pass", "f"), deadline_s=30))
    assert places == [os.getpid()] * 2


def test_r63_r10_each_call_logs_one_sanitized_debug_line(
    make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make_backend(pool_id="pool-9", node_id="node-3")
    name = "f\n\x1b[31mFORGED \u202e\0"
    calls = [
        WorkerCall("def f(): pass", "f"),
        WorkerCall("", name),
        WorkerCall("import os\ndef f(): os._exit(1)", "f"),
    ]

    async def all_calls() -> list[Outcome]:
        return [await backend.run(call, deadline_s=30) for call in calls]

    with caplog.at_level(logging.DEBUG, "gigaexec"):
        outcomes = asyncio.run(all_calls())
    records = [record for record in caplog.records if "function=" in record.getMessage()]
    assert {record.name for record in records} == {"gigaexec.backends.local"}
    lines = [record.getMessage() for record in records]
    assert len(lines) == 3
    metrics = _metrics(outcomes[0])
    for part in (
        "pool=pool-9",
        "node=node-3",
        f"worker={metrics.worker_id}",
        f"pid={metrics.worker_pid}",
        "function=f ",
        f"wall_s={metrics.wall_time_s:.6f}",
        "cpu_s=",
        f"peak_rss_kb={metrics.peak_rss_kb}",
    ):
        assert part in lines[0]
    assert all(line.isprintable() for line in lines)
    assert "function=f\\n\\x1b[31mFORGED \\u202e\\x00" in lines[1]
    assert "WorkerCrashedError" in lines[2]


def test_r61_a_timeout_error_has_the_deadline_the_run_time_and_any_metrics(run: Run, kind: Kind) -> None:
    outcome = run("while True: pass", deadline_s=0.3)
    assert isinstance(outcome.error, CallTimeoutError)
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.error.deadline_s == 0.3
    assert outcome.error.run_time_s >= 0.3
    assert outcome.run_time_s == outcome.error.run_time_s
    assert outcome.metrics is outcome.error.metrics
    assert (outcome.metrics is not None) is kind.knows_cost_of_killed
