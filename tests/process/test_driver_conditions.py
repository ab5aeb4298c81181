"""R33: faults in the driver's own process fail as few calls as possible, and only temporarily."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigaexec import InvalidCallError, LokyBackend, Outcome, WorkerCall, WorkerConfig, map_calls
from gigaexec.pool.starters.loky import LokyProcess
from tests.process.scripts import run_script

ONE = WorkerCall("def f():\n    return 1", "f")
LARGE = WorkerCall("def f():\n    return 'x' * 300_000", "f")
ENDLESS = WorkerCall("def f():\n    while True: pass", "f")
EXITS = WorkerCall("import os\ndef f():\n    os._exit(3)", "f")


@pytest.fixture
def backend(spill_dir: Path) -> Any:
    made = LokyBackend(WorkerConfig(max_workers=2, spill_dir=spill_dir))
    yield made
    made.shutdown_now(wait=True)


def outcome(backend: LokyBackend, call: WorkerCall, **limits: Any) -> Outcome:
    return asyncio.run(backend.run(call, **{"deadline_s": 30.0, **limits}))


def test_r33_a_crash_is_reported_correctly_if_the_application_ignores_sigchld() -> None:
    printed = run_script(
        """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        from gigaexec import LokyBackend, WorkerCall, WorkerConfig
        import asyncio
        async def main():
            backend = LokyBackend(WorkerConfig(max_workers=1))
            ended = await backend.run(WorkerCall("import os\\ndef f(): os._exit(3)", "f"), deadline_s=30)
            print(ended.status, "unknown" in str(ended.error), "SIGCHLD" in str(ended.error))
            print(await backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30))
            await backend.shutdown(wait=True)
        asyncio.run(main())
        """
    )
    assert printed.split() == ["crashed", "True", "True", "1"]


def test_r33_running_out_of_descriptors_does_not_end_the_pool(tmp_path: Path) -> None:
    printed = run_script(
        f"""
        import asyncio, logging, os, resource
        from pathlib import Path
        from gigaexec import LokyBackend, WorkerCall, WorkerConfig
        logging.disable(logging.CRITICAL)
        started = [Path({str(tmp_path / "endless")!r}), Path({str(tmp_path / "bystander")!r})]
        touch = "import pathlib, time\\ndef f(path, s):\\n    pathlib.Path(path).touch()\\n    "
        endless, sleep = touch + "while True: pass", touch + "time.sleep(s)"
        async def main():
            backend = LokyBackend(WorkerConfig(max_workers=2))
            def run(code, path, s, deadline_s):
                return backend.run(WorkerCall(code, "f", [str(path), s]), deadline_s=deadline_s)
            await asyncio.gather(*[run(sleep, os.devnull, 0.2, 30) for _ in range(2)])
            calls = [
                asyncio.create_task(run(endless, started[0], 0, 1)),
                asyncio.create_task(run(sleep, started[1], 2.0, 30)),
            ]
            while not all(path.exists() for path in started):
                await asyncio.sleep(0.01)
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            print(*[(await call).status for call in calls])
            for descriptor in held:
                os.close(descriptor)
            print((await run(sleep, os.devnull, 0.2, 30)).status)
            await backend.shutdown(wait=True)
        asyncio.run(main())
        """
    )
    assert printed.split() == ["timed_out", "ok", "ok"]


@pytest.mark.parametrize("call", [EXITS, ENDLESS], ids=["exits", "endless"])
def test_r90_without_pidfds_the_end_of_a_worker_is_detected_by_polling(
    call: WorkerCall, backend: LokyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LokyProcess, "open_pidfd", lambda _: None)
    ended = outcome(backend, call, deadline_s=1.0)
    assert ended.status == ("crashed" if call is EXITS else "timed_out")
    assert outcome(backend, ONE).value == 1


def test_r90_without_pidfds_a_crash_is_detected_although_a_forked_child_holds_the_channel(
    backend: LokyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LokyProcess, "open_pidfd", lambda _: None)
    forks = "import os, time\ndef f():\n    if os.fork() == 0: time.sleep(600)\n    os._exit(5)"
    assert outcome(backend, WorkerCall(forks, "f")).status == "crashed"


def test_r20_a_removed_spill_directory_is_created_again(
    backend: LokyBackend, spill_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert outcome(backend, LARGE).ok
    shutil.rmtree(spill_dir)
    assert outcome(backend, LARGE).status == "infrastructure"
    assert "removed while in use" in caplog.text
    assert outcome(backend, LARGE).ok


def test_r3_a_relative_folder_is_relative_to_the_callers_current_folder(
    backend: LokyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(backend, ONE).ok, "expected workers to start in another current folder"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "nearby.py").write_text("answer = 42")
    monkeypatch.chdir(tmp_path)
    call = WorkerCall("import nearby\ndef f():\n    return nearby.answer", "f", python_path=["lib"])
    assert outcome(backend, call).value == 42


def test_a_removed_current_folder_is_reported(
    backend: LokyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ended = outcome(backend, ONE)
    assert ended.status == "infrastructure"
    assert "current folder of this process was removed" in str(ended.error)
    with pytest.raises(InvalidCallError, match="relative folder 'lib'"):
        outcome(backend, WorkerCall(ONE.code, "f", python_path=["lib"]))


def test_queue_timeouts_do_not_keep_results_of_ended_calls_alive(backend: LokyBackend) -> None:
    call = WorkerCall("def f():\n    return b'x' * 60_000", "f")

    async def run_many(count: int) -> None:
        calls = (call for _ in range(count))
        async for ended in map_calls(calls, deadline_s=30.0, queue_timeout_s=3600.0, backend=backend):
            assert ended.ok

    asyncio.run(run_many(20))
    tracemalloc.start()
    try:
        asyncio.run(run_many(300))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 60_000 * 100


def test_r33_a_worker_killed_while_it_starts_fails_no_call(spill_dir: Path) -> None:
    backend = LokyBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))

    async def main() -> Outcome:
        running = asyncio.create_task(backend.run(ONE, deadline_s=30.0))
        while not (starting := _children_named("gigaexec.worker.reused.loop")):
            await asyncio.sleep(0.001)
        os.kill(starting[0], signal.SIGKILL)
        return await running

    try:
        assert asyncio.run(main()).ok
    finally:
        backend.shutdown_now(wait=True)


@pytest.mark.parametrize("limit_s", [0.0, 0.01])
def test_r34_the_start_of_a_worker_does_not_count_towards_the_queue_timeout(
    backend: LokyBackend, limit_s: float
) -> None:
    assert outcome(backend, ONE, queue_timeout_s=limit_s).ok


def test_r62_on_complete_fires_if_an_on_submit_handler_cancels_the_task(backend: LokyBackend) -> None:
    completed: list[BaseException | None] = []

    def cancel(_: WorkerCall) -> None:
        raise asyncio.CancelledError

    backend.on_submit(cancel)
    backend.on_complete(lambda _call, _metrics, error: completed.append(error))
    with pytest.raises(asyncio.CancelledError):
        outcome(backend, ONE)
    assert [type(error) for error in completed] == [asyncio.CancelledError]


def test_r35_a_child_with_an_empty_environment_is_found_by_its_session(backend: LokyBackend) -> None:
    code = (
        "import os, subprocess\ndef f():\n"
        "    print(subprocess.Popen(['sleep', '600'], env={}).pid, flush=True)\n    os._exit(1)"
    )
    ended = outcome(backend, WorkerCall(code, "f"))
    assert ended.status == "crashed"
    assert not Path(f"/proc/{int(ended.output.stdout)}/cmdline").exists() or _is_zombie(ended.output.stdout)


def test_r31_a_forked_child_does_not_affect_the_pools_of_its_parent() -> None:
    printed = run_script(
        """
        import gc, os, gigaexec
        backend = gigaexec.LokyBackend(gigaexec.WorkerConfig(max_workers=1))
        backend.on_shutdown(lambda: print("on_shutdown in", "child" if os.getpid() != parent else "parent"))
        parent = os.getpid()
        print(gigaexec.run("def f(): return 1", "f", backend=backend), flush=True)
        child = os.fork()
        if child == 0:
            del backend
            gc.collect()
            raise SystemExit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        print(gigaexec.run("def f(): return 2", "f", backend=backend), flush=True)
        """
    )
    assert printed.splitlines() == ["1", "0", "2", "on_shutdown in parent"]


def _children_named(part: str) -> list[int]:
    found = []
    for child in psutil.Process().children():
        try:
            if part in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue  # the child ended during the scan
    return found


def _is_zombie(pid: str) -> bool:
    return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
