"""R30, R62: start, lifetime and replacement of workers, and failures to start."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigaexec import (
    ExecutionMetrics,
    LokyBackend,
    Outcome,
    OutcomeStatus,
    SpillDirectoryError,
    WorkerCall,
    WorkerConfig,
    WorkerStartError,
)
from tests.conftest import wait_until
from tests.process.scripts import is_running, json_of_script

PID = "import os\ndef f(): return os.getpid()"

MakeBackend = Callable[..., LokyBackend]


@pytest.fixture
def make_backend(spill_dir: Path) -> Iterator[MakeBackend]:
    """A factory of backends with one worker, which are shut down after the test."""
    made: list[LokyBackend] = []

    def make(**settings: Any) -> LokyBackend:
        made.append(LokyBackend(WorkerConfig(**{"max_workers": 1, "spill_dir": spill_dir, **settings})))
        return made[-1]

    yield make
    for backend in made:
        backend.shutdown_now(wait=True)


def run(backend: LokyBackend, code: str, *args: Any) -> Outcome:
    return asyncio.run(backend.run(WorkerCall(code, "f", list(args)), deadline_s=60))


def value(backend: LokyBackend, code: str, *args: Any) -> Any:
    return run(backend, code, *args).unwrap()


def child_count() -> int:
    return len(psutil.Process().children(recursive=True))


def test_r30_nothing_starts_before_the_first_call(make_backend: MakeBackend, spill_dir: Path) -> None:
    children, threads = child_count(), threading.active_count()
    backend = make_backend()
    assert (child_count(), threading.active_count(), spill_dir.exists()) == (children, threads, False)
    value(backend, PID)
    assert child_count() > children
    assert spill_dir.exists()


def test_r30_workers_start_as_calls_need_them_and_are_reused(make_backend: MakeBackend) -> None:
    backend = make_backend(max_workers=4)
    pids = {value(backend, PID) for _ in range(5)}
    assert len(pids) == 1, "sequential calls need one worker only"
    outcomes = [run(backend, PID) for _ in range(2)]
    assert {outcome.value for outcome in outcomes} == pids
    assert outcomes[1].start_time_s < 0.05


def test_r30_idle_workers_end_and_the_next_call_starts_one(make_backend: MakeBackend) -> None:
    backend = make_backend(idle_timeout_s=0.2)
    first = value(backend, PID)
    wait_until(lambda: not is_running(first), what="the first idle worker still runs")
    second = value(backend, PID)
    assert second != first
    wait_until(lambda: not is_running(second), what="the second idle worker still runs")


def test_r30_a_running_call_does_not_count_as_idle_time(make_backend: MakeBackend) -> None:
    backend = make_backend(idle_timeout_s=0.1)
    code = "import os, time\ndef f():\n    time.sleep(0.5)\n    return os.getpid()"
    assert run(backend, code).status is OutcomeStatus.OK


def test_max_calls_per_worker_replaces_a_worker_after_that_many_calls(make_backend: MakeBackend) -> None:
    backend = make_backend(max_calls_per_worker=3)
    pids = [value(backend, PID) for _ in range(9)]
    assert list(Counter(pids).values()) == [3, 3, 3]
    assert pids[0] == pids[2]
    wait_until(lambda: not any(map(is_running, pids[:6])), what="replaced workers still run")


def test_max_worker_rss_mb_replaces_a_worker_that_holds_more_after_a_call(make_backend: MakeBackend) -> None:
    backend = make_backend(max_worker_rss_mb=200)
    grows = "import json, os\ndef f(mb):\n    json.held = b'x' * (mb << 20)\n    return os.getpid()"
    first = value(backend, grows, 30)
    assert value(backend, PID) == first
    peaks = "import os\ndef f():\n    b'x' * (300 << 20)\n    return os.getpid()"
    assert value(backend, peaks) == first, "a peak during the call must not count"
    assert value(backend, grows, 300) == first, "the call that grows the worker must succeed"
    assert value(backend, PID) != first
    wait_until(lambda: not is_running(first))


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("a thread", "threading.Thread(target=threading.Event().wait, daemon=True).start()"),
        ("a thread that prints", "threading.Thread(target=print_for_ever, daemon=True).start()"),
        ("a process", "subprocess.Popen(['sleep', '1000'])"),
    ],
)
def test_r33_a_worker_whose_program_left_something_running_is_replaced(
    what: str, statement: str, make_backend: MakeBackend
) -> None:
    backend = make_backend()
    code = f"""
import os, subprocess, threading
def print_for_ever():
    while True: print("x" * 100)
def f():
    {statement}
    return os.getpid()
"""
    first = run(backend, code)
    assert first.status is OutcomeStatus.OK, "the program itself must succeed"
    second = run(backend, PID)
    assert second.value != first.value
    assert second.output.stdout == ""
    wait_until(lambda: not is_running(first.value))


def completions(backend: LokyBackend) -> list[tuple[ExecutionMetrics | None, BaseException | None]]:
    """Record the arguments of all further `on_complete` calls."""
    told: list[tuple[ExecutionMetrics | None, BaseException | None]] = []
    backend.on_complete(lambda _, metrics, error: told.append((metrics, error)))
    return told


def test_r62_r21_a_refused_spill_directory_fails_the_call_and_completes_it(
    make_backend: MakeBackend, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    backend = make_backend(spill_dir=tmp_path / "open")
    told = completions(backend)
    for count in (1, 2):
        with pytest.raises(SpillDirectoryError, match="open to others"):
            run(backend, PID)
        assert len(told) == count
    assert told[0][0] is None
    assert isinstance(told[0][1], SpillDirectoryError)
    (tmp_path / "open").chmod(0o700)
    assert value(backend, PID) > 0, "the backend must work after the directory is fixed"


def test_r62_a_worker_that_does_not_start_in_time_fails_the_call_and_completes_it(
    make_backend: MakeBackend,
) -> None:
    backend = make_backend(start_timeout_s=0.001)
    told = completions(backend)
    outcome = run(backend, PID)
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert isinstance(outcome.error, WorkerStartError)
    assert "a worker process did not start within 0.001 s" in str(outcome.error)
    assert outcome.metrics is None
    assert told == [(None, outcome.error)]


@pytest.mark.skipif(sys.platform != "linux", reason="counts the descriptors in /proc")
def test_r62_when_no_descriptor_is_free_the_call_fails_as_infrastructure_and_nothing_is_left() -> None:
    script = f"""
    import asyncio, json, logging, os, resource
    from gigaexec import LokyBackend, WorkerCall, WorkerConfig
    from gigaexec.pool.starters import start_failures

    logging.getLogger("gigaexec").setLevel(logging.CRITICAL)
    spill_dir = os.environ["GIGAEVO_EXECUTOR_SPILL_DIR"]
    config = WorkerConfig(max_workers=1, spill_dir=spill_dir)
    start_failures._SHORTAGE_PATIENCE_S = 0.2
    backend = LokyBackend(config)
    completed = []
    backend.on_complete(lambda call, metrics, error: completed.append(error))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run():
        outcome = await backend.run(WorkerCall({PID!r}, "f"), deadline_s=60)
        return f"{{outcome.status}} {{type(outcome.error).__name__}}"

    async def run_with_free_descriptors(count):
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + count, hard))
        try:
            return await run()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async def count_descriptors():
        await backend.shutdown(wait=True)
        return len(os.listdir("/proc/self/fd"))

    async def main():
        seen = [await run()]
        before = await count_descriptors()
        grown = []
        for count in range(15):
            seen.append(await run_with_free_descriptors(count))
            grown.append(await count_descriptors() - before)
        seen.append(await run())
        await backend.shutdown(wait=True)
        return seen, grown

    print(json.dumps([*asyncio.run(main()), len(completed)]))
    """
    seen, grown, completed = json_of_script(script)
    assert (seen[0], seen[-1]) == ("ok NoneType", "ok NoneType")
    assert set(seen[1:-1]) == {"infrastructure WorkerStartError"}
    assert set(grown) == {0}
    assert completed == len(seen)


def test_r62_a_worker_that_ends_while_it_starts_fails_the_call_with_its_exit_code(
    make_backend: MakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif 'GIGAEVO_WORKER_ID' in os.environ: os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    backend = make_backend()
    told = completions(backend)
    outcome = run(backend, PID)
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert isinstance(outcome.error, WorkerStartError)
    assert "ended with exit code 3 while it started" in str(outcome.error)
    assert told == [(None, outcome.error)]
    monkeypatch.delenv("PYTHONPATH")
    assert value(backend, PID) != os.getpid()
