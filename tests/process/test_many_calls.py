"""`map_calls`, and the synchronous `run` and `map`, with real workers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import gigaexec
from gigaexec import (
    CallTimeoutError,
    ConfigurationError,
    ExecRunnerError,
    InvalidCallError,
    LokyBackend,
    Outcome,
    QueueTimeoutError,
    WorkerCall,
    WorkerConfig,
    map_calls,
)
from tests.conftest import wait_until
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids

SQUARE = "def f(x): return x * x"
SLEEPS_THEN_SQUARES = "import time\ndef f(x, seconds):\n    time.sleep(seconds)\n    return x * x"
HANGS = f"""{NOTE_PROCESS}
import time
def f(path):
    note_process(path)
    time.sleep(1000)
"""


WAITS = """
import os, time
def f(path):
    while not os.path.exists(path): time.sleep(0.01)
"""


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[LokyBackend]:
    """A backend with two workers."""
    backend = LokyBackend(WorkerConfig(max_workers=2, spill_dir=spill_dir))
    yield backend
    backend.shutdown_now(wait=True)


def squares(count: int) -> Iterator[WorkerCall]:
    return (WorkerCall(SQUARE, "f", [number]) for number in range(count))


def test_map_yields_outcomes_in_the_order_of_the_calls(backend: LokyBackend) -> None:
    calls = [WorkerCall(SLEEPS_THEN_SQUARES, "f", [x, 0.3 if x == 0 else 0]) for x in range(6)]
    outcomes = list(gigaexec.map(calls, backend=backend))
    assert [(outcome.index, outcome.value) for outcome in outcomes] == [(x, x * x) for x in range(6)]


def test_map_unordered_yields_outcomes_as_they_end(backend: LokyBackend, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    calls = itertools.chain([WorkerCall(WAITS, "f", [str(gate)])], squares(5))
    indices = []
    for outcome in gigaexec.map(calls, backend=backend, ordered=False):
        indices.append(outcome.index)
        if len(indices) == 5:
            gate.touch()
    assert sorted(indices) == list(range(6))
    assert indices[-1] == 0


def test_map_reports_each_kind_of_failure_and_continues(backend: LokyBackend) -> None:
    calls = [
        WorkerCall(SQUARE, "f", [3]),
        WorkerCall("def f(: pass", "f"),
        WorkerCall("import os\ndef f(): os._exit(3)", "f"),
        WorkerCall("def f():\n    while True: pass", "f"),
        WorkerCall(SQUARE, "f", [threading.Lock()]),
        WorkerCall(SQUARE, "f", [4]),
    ]
    outcomes = list(gigaexec.map(calls, deadline_s=1.0, backend=backend))
    assert [str(outcome.status) for outcome in outcomes] == [
        "ok",
        "error",
        "crashed",
        "timed_out",
        "error",
        "ok",
    ]
    assert isinstance(outcomes[4].error, InvalidCallError)
    assert "args[0] of type lock cannot be pickled" in str(outcomes[4].error)
    assert [outcome.value for outcome in outcomes] == [9, None, None, None, None, 16]


def test_map_takes_calls_from_the_iterator_as_needed(backend: LokyBackend) -> None:
    consumed = 0

    def million() -> Iterator[WorkerCall]:
        nonlocal consumed
        for call in squares(1_000_000):
            consumed += 1
            yield call

    outcomes = gigaexec.map(million(), backend=backend)
    assert [next(outcomes).value for _ in range(100)] == [x * x for x in range(100)]
    assert consumed <= 100 + 32, "expected at most 16 calls in flight for each of 2 workers"
    outcomes.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ordered", [True, False])
def test_leaving_the_asynchronous_iteration_kills_the_calls_in_flight(
    ordered: bool, backend: LokyBackend, tmp_path: Path
) -> None:
    pids = RecordedPids(tmp_path / "pids")

    async def leave() -> None:
        calls = [WorkerCall(SQUARE, "f", [2]), *(WorkerCall(HANGS, "f", [pids.path]) for _ in range(5))]
        async with aclosing(
            map_calls(calls, deadline_s=600, backend=backend, ordered=ordered, max_in_flight=4)
        ) as outcomes:
            async for outcome in outcomes:
                assert outcome.value == 4
                await asyncio.to_thread(wait_until, lambda: len(pids.running()) == 2)
                break
        assert pids.running() == []

    asyncio.run(leave())
    assert gigaexec.run(SQUARE, "f", 5, backend=backend) == 25


def test_leaving_the_synchronous_iteration_kills_the_calls_in_flight(
    backend: LokyBackend, tmp_path: Path
) -> None:
    pids = RecordedPids(tmp_path / "pids")
    calls = [WorkerCall(SQUARE, "f", [2]), *(WorkerCall(HANGS, "f", [pids.path]) for _ in range(5))]
    for outcome in gigaexec.map(calls, deadline_s=600, backend=backend, max_in_flight=3):
        assert outcome.value == 4
        wait_until(lambda: len(pids.running()) == 2)
        break
    wait_until(lambda: not pids.running())


def test_map_accepts_a_queue_timeout(spill_dir: Path, tmp_path: Path) -> None:
    backend = LokyBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    gate = tmp_path / "gate"
    calls = [WorkerCall(WAITS, "f", [str(gate)]), WorkerCall(SQUARE, "f", [1])]
    seen = []
    try:
        gigaexec.run(SQUARE, "f", 1, backend=backend)  # starts a worker for the first call
        for outcome in gigaexec.map(
            calls, backend=backend, ordered=False, max_in_flight=2, queue_timeout_s=0.2
        ):
            seen.append((outcome.index, str(outcome.status), type(outcome.error)))
            gate.touch()
    finally:
        backend.shutdown_now(wait=True)
    assert seen == [(1, "infrastructure", QueueTimeoutError), (0, "ok", type(None))]


def test_run_returns_the_value_or_raises(backend: LokyBackend) -> None:
    code = "import os\ndef f(a, b=0, *, name): return a + b, os.environ[name]"
    value = gigaexec.run(code, "f", 1, kwargs={"b": 2, "name": "NOTE"}, env={"NOTE": "x"}, backend=backend)
    assert value == (3, "x")
    with pytest.raises(ExecRunnerError, match="ZeroDivisionError: division by zero"):
        gigaexec.run("def f(): 1 / 0", "f", backend=backend)
    with pytest.raises(TimeoutError) as overrun:
        gigaexec.run("def f():\n    while True: pass", "f", deadline_s=0.2, backend=backend)
    assert isinstance(overrun.value, CallTimeoutError)
    with pytest.raises(ConfigurationError, match="deadline_s"):
        gigaexec.run(SQUARE, "f", 1, deadline_s=-1, backend=backend)


def test_run_imports_from_python_path(backend: LokyBackend, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'found'")
    code = "def f():\n    import helper\n    return helper.WORD"
    assert gigaexec.run(code, "f", python_path=[str(tmp_path)], backend=backend) == "found"


def test_run_and_map_work_inside_a_running_loop_as_in_jupyter(backend: LokyBackend) -> None:
    async def cell() -> list[Any]:
        squared = gigaexec.run(SQUARE, "f", 7, backend=backend)
        outcomes = [outcome.value for outcome in gigaexec.map(squares(5), backend=backend)]
        first = None
        for outcome in gigaexec.map(squares(50), backend=backend):
            first = outcome.value
            break
        with pytest.raises(ExecRunnerError, match="ValueError: bad"):
            gigaexec.run("def f(): raise ValueError('bad')", "f", backend=backend)
        return [squared, outcomes, first]

    assert asyncio.run(cell()) == [49, [0, 1, 4, 9, 16], 0]


def test_run_works_from_many_threads_at_once(backend: LokyBackend) -> None:
    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda x: gigaexec.run(SQUARE, "f", x, backend=backend), range(24)))
    assert values == [x * x for x in range(24)]


def test_maps_in_two_threads_do_not_mix(backend: LokyBackend) -> None:
    outcomes_by_offset: dict[int, list[Outcome]] = {}

    def collect(offset: int) -> None:
        calls = (WorkerCall(SQUARE, "f", [offset + x]) for x in range(20))
        outcomes_by_offset[offset] = list(gigaexec.map(calls, backend=backend))

    threads = [threading.Thread(target=collect, args=(offset,)) for offset in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for offset, outcomes in outcomes_by_offset.items():
        assert [outcome.value for outcome in outcomes] == [(offset + x) ** 2 for x in range(20)]


def test_run_exec_runner_uses_the_default_backend() -> None:
    value = asyncio.run(gigaexec.run_exec_runner(code=SQUARE, function_name="f", args=[6], timeout=60))
    assert value == 36
