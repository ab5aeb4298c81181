"""R31, R32, R38: several backends at once, several event loops, and shutdown."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gigaexec import ExecutorBackend, Outcome, OutcomeBackend, OutcomeStatus, WorkerCall, WorkerConfig
from tests.conftest import wait_until
from tests.contract.conftest import Kind, MakeBackend
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids

_ONE = WorkerCall("def f(): return 1", "f")
_HANGS = f"""{NOTE_PROCESS}
import os, signal, subprocess
def f(pids):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    note_process(pids)
    note_process(pids, child.pid)
    while True: pass
"""


def _worker_of_a_call(backend: Any) -> str:
    """Run a call and return the id of its worker."""
    outcome: Outcome = asyncio.run(backend.run(_ONE, deadline_s=30))
    assert outcome.metrics is not None
    return outcome.metrics.worker_id


def test_r31_backends_have_their_own_workers_folders_and_environments(
    make_backend: MakeBackend, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONLY_FOR_ONE", "yes")
    whitelist = WorkerConfig().env_whitelist | {"ONLY_FOR_ONE"}
    one = make_backend(spill_dir=tmp_path / "one", env_whitelist=whitelist)
    two = make_backend(spill_dir=tmp_path / "two")
    program = WorkerCall("import os\ndef f(): return os.environ.get('ONLY_FOR_ONE'), b'x' * 300_000", "f")

    async def both() -> list[Any]:
        return await asyncio.gather(*(backend.execute(program, deadline_s=30) for backend in (one, two)))

    assert [value[0] for value in asyncio.run(both())] == ["yes", None]
    assert one.config.pool_id != two.config.pool_id
    assert [len(list(folder.glob("*.lock"))) for folder in (tmp_path / "one", tmp_path / "two")] == [1, 1]
    workers = _worker_of_a_call(one), _worker_of_a_call(two)
    assert workers[0] != workers[1]
    asyncio.run(one.shutdown(wait=True))
    assert list((tmp_path / "one").iterdir()) == []
    assert (_worker_of_a_call(two) == workers[1]) is kind.reuses_workers, (
        "the other backend's worker must survive"
    )


def test_r31_shutting_one_backend_down_does_not_affect_a_call_of_another(
    make_backend: MakeBackend, tmp_path: Path
) -> None:
    one, two = make_backend(), make_backend()  # both use the same spill directory
    release = tmp_path / "release"
    code = """
import os, time
def f(release):
    limit = time.monotonic() + 60
    while not os.path.exists(release) and time.monotonic() < limit: time.sleep(0.005)
    return b"x" * 300_000
"""

    async def scenario() -> Outcome:
        task = asyncio.create_task(two.run(WorkerCall(code, "f", [str(release)]), deadline_s=60))
        await one.execute(_ONE, deadline_s=30)
        await one.shutdown(wait=True)
        release.touch()
        outcome: Outcome = await task
        return outcome

    assert asyncio.run(scenario()).value == b"x" * 300_000


def test_r32_a_backend_works_in_one_event_loop_after_another(backend: Any, kind: Kind) -> None:
    assert (_worker_of_a_call(backend) == _worker_of_a_call(backend)) is kind.reuses_workers


def test_r32_a_backend_works_in_two_threads_with_an_event_loop_each(backend: Any, tmp_path: Path) -> None:
    """Each call returns only after the other call has started."""
    code = """
import os, time
def f(own, other):
    open(own, "w").close()
    limit = time.monotonic() + 60
    while not os.path.exists(other):
        assert time.monotonic() < limit
        time.sleep(0.005)
    return own
"""
    names = [str(tmp_path / name) for name in ("a", "b")]
    values: list[str] = []

    def work(own: str, other: str) -> None:
        values.append(asyncio.run(backend.execute(WorkerCall(code, "f", [own, other]), deadline_s=60)))

    threads = [threading.Thread(target=work, args=pair) for pair in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(values) == names


def test_r32_the_end_of_an_event_loop_kills_its_call_in_flight(backend: Any, pids: RecordedPids) -> None:
    async def end_loop_during_call() -> None:
        task = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        assert not task.done()  # asyncio.run cancels the task at its end

    asyncio.run(end_loop_during_call())
    assert pids.running() == []
    assert _worker_of_a_call(backend)


def test_r38_shutdown_with_wait_returns_when_processes_threads_and_files_are_gone(
    backend: Any, spill_dir: Path, pids: RecordedPids
) -> None:
    async def scenario() -> list[Outcome]:
        hanging = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        queued = [
            asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
            for _ in range(5)
        ]
        await asyncio.sleep(0)
        await backend.shutdown(wait=True)
        assert pids.running() == []
        assert list(spill_dir.iterdir()) == []
        assert not [thread for thread in threading.enumerate() if backend.config.pool_id in thread.name]
        return list(await asyncio.gather(hanging, *queued))

    outcomes = asyncio.run(scenario())
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.CANCELLED] * 6
    assert {str(outcome.error) for outcome in outcomes} == {"the backend was shut down"}


def test_r38_shutdown_without_wait_returns_promptly_and_kills_processes_soon(
    backend: Any, spill_dir: Path, pids: RecordedPids
) -> None:
    async def scenario() -> float:
        task = asyncio.create_task(backend.run(WorkerCall(_HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, lambda: len(pids.all()) == 2)
        before = time.monotonic()
        await backend.shutdown()
        took_s = time.monotonic() - before
        assert (await task).status is OutcomeStatus.CANCELLED
        return took_s

    assert asyncio.run(scenario()) < 1.0
    wait_until(lambda: not pids.running() and not list(spill_dir.iterdir()))


def test_r38_shutdown_is_safe_at_any_time_and_a_later_call_gets_a_new_worker(backend: Any) -> None:
    asyncio.run(backend.shutdown(wait=True))  # shutdown before the first call
    workers = []
    for wait in (True, False, True):
        workers.append(_worker_of_a_call(backend))
        asyncio.run(backend.shutdown(wait=wait))
        asyncio.run(backend.shutdown(wait=wait))
    assert len(set(workers)) == 3


def test_r38_a_call_right_after_a_shutdown_succeeds(backend: Any) -> None:
    async def scenario() -> Any:
        await backend.execute(_ONE, deadline_s=30)
        await backend.shutdown()
        first = await backend.execute(_ONE, deadline_s=30)
        await backend.shutdown(wait=True)
        return first

    assert asyncio.run(scenario()) == 1


def test_r38_shutdowns_from_several_threads_at_once(backend: Any) -> None:
    _worker_of_a_call(backend)
    threads = [threading.Thread(target=lambda: asyncio.run(backend.shutdown(wait=True))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert _worker_of_a_call(backend)


def test_the_backend_implements_its_protocols(backend: Any) -> None:
    implemented = [isinstance(backend, protocol) for protocol in (ExecutorBackend, OutcomeBackend)]
    assert implemented == [True, True]
