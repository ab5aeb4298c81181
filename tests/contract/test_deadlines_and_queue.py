"""R33, R34, R35: deadlines count run time only, the queue is fair, and killed calls leave no process."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gigaexec import (
    CallTimeoutError,
    ConfigurationError,
    ExecRunnerError,
    Outcome,
    OutcomeStatus,
    QueueTimeoutError,
    WorkerCall,
    run_exec_runner,
)
from tests.conftest import wait_until
from tests.contract.conftest import MakeBackend, Run
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids

_HANGS = f"""{NOTE_PROCESS}
import os, subprocess
def f(pids):
    child = subprocess.Popen(["sleep", "600"])
    note_process(pids)
    note_process(pids, child.pid)
    while True: pass
"""


@pytest.fixture
def slow_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Delay the start of each worker process; the value is the delay in seconds."""
    delay_s = 1.0
    (tmp_path / "sitecustomize.py").write_text(f"import time\ntime.sleep({delay_s})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return delay_s


def test_r34_time_in_the_queue_does_not_count_towards_the_deadline(backend: Any) -> None:
    call = WorkerCall("import time\ndef f(n):\n    time.sleep(0.3)\n    return n", "f", [1])

    async def eight() -> list[Outcome]:
        return list(await asyncio.gather(*(backend.run(call, deadline_s=0.6) for _ in range(8))))

    outcomes = asyncio.run(eight())
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.OK] * 8
    assert max(outcome.queue_time_s for outcome in outcomes) > 0.6, "no call waited longer than its deadline"


def test_r34_the_start_of_a_worker_does_not_count_towards_the_deadline(
    make_backend: MakeBackend, slow_start: float
) -> None:
    call = WorkerCall("def f(): return 1", "f")
    outcome = asyncio.run(make_backend().run(call, deadline_s=slow_start / 2))
    assert outcome.value == 1
    assert outcome.start_time_s >= slow_start
    assert outcome.run_time_s < slow_start / 2


def test_r34_calls_run_in_the_order_in_which_they_were_submitted(
    make_backend: MakeBackend, tmp_path: Path
) -> None:
    backend = make_backend(max_workers=1)
    journal = tmp_path / "journal"
    code = "def f(journal, n):\n    with open(journal, 'a') as file: file.write(f'{n} ')"

    async def all_calls() -> None:
        await asyncio.gather(
            *(backend.run(WorkerCall(code, "f", [str(journal), n]), deadline_s=30) for n in range(30))
        )

    asyncio.run(all_calls())
    assert journal.read_text().split() == [str(number) for number in range(30)]


def test_r34_an_overrun_is_a_timeout_error_with_the_output(backend: Any) -> None:
    with pytest.raises(TimeoutError, match=r"timed out after 0\.3 s") as caught:
        asyncio.run(
            run_exec_runner(
                code="def f():\n    print('so far')\n    while True: pass",
                function_name="f",
                timeout=0.3,
                backend=backend,
            )
        )
    assert isinstance(caught.value, CallTimeoutError)
    assert not isinstance(caught.value, ExecRunnerError)
    assert caught.value.output is not None
    assert caught.value.output.stdout == "so far\n"
    assert "so far" in str(caught.value)


def test_r34_module_level_code_counts_towards_the_deadline(run: Run) -> None:
    outcome = run("while True: pass", deadline_s=0.3)
    assert outcome.status is OutcomeStatus.TIMED_OUT
    assert 0.3 <= outcome.run_time_s < 10


def test_r34_pickling_the_value_counts_towards_the_deadline(run: Run) -> None:
    code = "class Slow:\n    def __reduce__(self):\n        while True: pass\ndef f(): return Slow()"
    assert run(code, deadline_s=0.3).status is OutcomeStatus.TIMED_OUT


def test_r34_a_queue_timeout_raises_queue_timeout_error(
    make_backend: MakeBackend, pids: RecordedPids, tmp_path: Path
) -> None:
    backend = make_backend(max_workers=1)
    touched = tmp_path / "touched"
    touch = WorkerCall("def f(path): open(path, 'w').close()", "f", [str(touched)])

    async def scenario() -> Outcome:
        hanging = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, pids.all)
        outcome: Outcome = await backend.run(touch, deadline_s=30, queue_timeout_s=0.1)
        with pytest.raises(QueueTimeoutError):
            outcome.unwrap()
        hanging.cancel()
        await asyncio.wait([hanging])
        assert (await backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30, queue_timeout_s=20)).ok
        return outcome

    outcome = asyncio.run(scenario())
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert not isinstance(outcome.error, TimeoutError), "a busy pool is no timeout of the program"
    assert "queue_timeout_s = 0.1 s" in str(outcome.error)
    assert outcome.queue_time_s >= 0.1
    assert (outcome.run_time_s, outcome.metrics) == (0.0, None)
    assert not touched.exists()


def test_r34_a_queue_timeout_does_not_end_a_running_call(backend: Any) -> None:
    async def scenario() -> Outcome:
        await backend.run(WorkerCall("def f(): pass", "f"), deadline_s=30)  # starts the worker
        call = WorkerCall("import time\ndef f():\n    time.sleep(0.8)\n    return 1", "f")
        outcome: Outcome = await backend.run(call, deadline_s=30, queue_timeout_s=0.4)
        return outcome

    assert asyncio.run(scenario()).value == 1


@pytest.mark.parametrize("deadline_s", [0, -1, float("nan"), "1", None, True])
def test_r34_an_invalid_deadline_is_refused(backend: Any, spill_dir: Path, deadline_s: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadline_s must be a positive number of seconds"):
        asyncio.run(backend.run(WorkerCall("def f(): pass", "f"), deadline_s=deadline_s))
    assert not spill_dir.exists(), "an invalid deadline must not start the pool"


def test_r34_a_deadline_may_be_infinite(run: Run) -> None:
    assert run("def f(): return 1", deadline_s=float("inf")).value == 1


def test_r35_r33_cancelling_a_call_returns_after_its_processes_are_dead(
    backend: Any, pids: RecordedPids
) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        assert len(pids.running()) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pids.running() == []
        assert (await backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30)).value == 1

    asyncio.run(cancel())


def test_r33_a_timeout_of_asyncio_wait_for_kills_the_call(backend: Any, pids: RecordedPids) -> None:
    async def wait() -> None:
        task = asyncio.create_task(backend.execute(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.05)
        assert pids.running() == []

    asyncio.run(wait())


def test_r33_a_queued_call_that_is_cancelled_never_runs(make_backend: MakeBackend, tmp_path: Path) -> None:
    backend = make_backend(max_workers=1)
    journal, release = tmp_path / "journal", tmp_path / "release"
    code = """
import os, time
def f(journal, n, release):
    with open(journal, "a") as file: file.write(f"{n} ")
    limit = time.monotonic() + 60
    while not os.path.exists(release) and time.monotonic() < limit: time.sleep(0.005)
    return n
"""

    async def scenario() -> list[Any]:
        calls = [WorkerCall(code, "f", [str(journal), n, str(release)]) for n in range(4)]
        tasks = [asyncio.create_task(backend.run(call, deadline_s=60)) for call in calls]
        await asyncio.to_thread(wait_until, journal.exists)
        tasks[1].cancel()
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        release.touch()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        return [item.value if isinstance(item, Outcome) else type(item) for item in done]

    assert asyncio.run(scenario()) == [0, asyncio.CancelledError, asyncio.CancelledError, 3]
    assert journal.read_text().split() == ["0", "3"]


def test_r33_cancelling_many_calls_at_once_ends_all_of_them_and_the_pool_still_works(backend: Any) -> None:
    async def storm() -> None:
        call = WorkerCall("while True: pass", "f")
        tasks = [asyncio.create_task(backend.run(call, deadline_s=60)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(item, asyncio.CancelledError) for item in ended)
        assert (await backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30)).value == 1

    asyncio.run(storm())


def test_r33_repeated_cancellation_of_a_dying_call_is_harmless(backend: Any, pids: RecordedPids) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: not pids.running())
        assert (await backend.run(WorkerCall("def f(): return 1", "f"), deadline_s=30)).value == 1

    asyncio.run(cancel())


def test_r33_many_crashes_neither_fail_nor_repeat_a_healthy_call(backend: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    healthy = """
import time
def f(journal, n):
    with open(journal, "a") as file: file.write(f"{n} ")
    time.sleep(0.01)
    return n
"""
    deaths = ("import os\ndef f(*_): os._exit(1)", "import os\ndef f(*_): os.kill(os.getpid(), 11)")

    def code(n: int) -> str:
        return deaths[n % 2] if n % 5 == 0 else healthy

    async def all_calls() -> list[Outcome]:
        calls = [WorkerCall(code(n), "f", [str(journal), n]) for n in range(60)]
        return list(await asyncio.gather(*(backend.run(call, deadline_s=30) for call in calls)))

    outcomes = asyncio.run(all_calls())
    for n, outcome in enumerate(outcomes):
        assert outcome.status is (OutcomeStatus.CRASHED if n % 5 == 0 else OutcomeStatus.OK)
        assert outcome.value == (None if n % 5 == 0 else n)
    assert Counter(journal.read_text().split()) == Counter(str(n) for n in range(60) if n % 5)


def test_r33_the_caller_s_loop_is_never_blocked(backend: Any, slow_start: float) -> None:
    async def watch() -> float:
        crash = WorkerCall("import os\ndef f(): os._exit(1)", "f")
        tasks = [asyncio.create_task(backend.run(crash, deadline_s=30)) for _ in range(4)]
        longest = 0.0
        while not all(task.done() for task in tasks):
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
        return longest

    assert asyncio.run(watch()) < slow_start / 2


def test_r33_calls_from_many_threads_get_their_own_values(backend: Any) -> None:
    call_count, thread_count = 25, 4
    answers: dict[int, list[int]] = {}

    def work(thread: int) -> None:
        async def calls() -> list[int]:
            code = "def f(n): return n"
            numbers = range(thread * 100, thread * 100 + call_count)
            return list(
                await asyncio.gather(
                    *(backend.execute(WorkerCall(code, "f", [n]), deadline_s=30) for n in numbers)
                )
            )

        answers[thread] = asyncio.run(calls())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(thread_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == {t: list(range(t * 100, t * 100 + call_count)) for t in range(thread_count)}
