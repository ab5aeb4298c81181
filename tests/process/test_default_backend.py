"""R40: the default backend, and shutdown of backends at interpreter exit."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import gigaexec
from gigaexec import OutcomeStatus, WorkerCall, default_loky_backend, shutdown_executor
from tests.conftest import wait_until
from tests.process.marked import Mark
from tests.process.scripts import is_running, run_script, started_script

PID = "import os\ndef f(): return os.getpid()"


def test_r40_the_default_backend_is_created_once_and_starts_nothing(spill_dir: Path) -> None:
    thread_count = threading.active_count()
    backends: list[gigaexec.LokyBackend] = []
    threads = [threading.Thread(target=lambda: backends.append(default_loky_backend())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backends) == 8
    assert len(set(map(id, backends))) == 1
    assert threading.active_count() == thread_count
    assert not spill_dir.exists()


def test_r40_shutdown_drops_handlers_and_workers_and_the_next_call_gets_a_new_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted: list[WorkerCall] = []
    shut_down: list[bool] = []
    first = default_loky_backend()
    first.on_submit(submitted.append)
    first.on_shutdown(lambda: shut_down.append(True))
    pid = gigaexec.run(PID, "f")
    assert len(submitted) == 1
    shutdown_executor(wait=True)
    assert shut_down == [True]
    assert not is_running(pid)
    monkeypatch.setenv("GIGAEVO_EXECUTOR_NODE_ID", "another-node")
    assert gigaexec.run("import os\ndef f(): return os.environ['GIGAEVO_NODE_ID']", "f") == "another-node"
    assert default_loky_backend() is not first
    assert gigaexec.run("def f(): return 1", "f", backend=first) == 1
    first.shutdown_now(wait=True)
    assert (len(submitted), shut_down) == (1, [True]), "handlers must be removed by shutdown"


def test_r40_shutdown_without_a_default_backend_does_nothing() -> None:
    shutdown_executor(wait=True)
    shutdown_executor()


def test_r40_shutdown_ends_running_calls_as_cancelled(tmp_path: Path) -> None:
    started = tmp_path / "started"
    call = WorkerCall(f"import time\ndef f():\n    open({str(started)!r}, 'w')\n    time.sleep(1000)", "f")

    async def main() -> gigaexec.Outcome:
        running = asyncio.create_task(gigaexec.run_call(call, deadline_s=600))
        await asyncio.to_thread(wait_until, started.exists)
        shutdown_executor()
        return await running

    outcome = asyncio.run(main())
    assert outcome.status is OutcomeStatus.CANCELLED
    assert "the backend was shut down" in str(outcome.error)


HANGING_CALL = """
    import sys, threading, time, gigaexec

    def hang():
        try:
            gigaexec.run("import time\\ndef f(path):\\n    open(path, 'w')\\n    time.sleep(1000)", "f",
                         sys.argv[1], deadline_s=2000)
        except gigaexec.CallCancelledError as error:
            print("cancelled:", error, flush=True)

    threading.Thread(target=hang, daemon=sys.argv[2] == "daemon").start()
    import pathlib
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("kind", ["daemon", "ordinary"])
def test_r40_a_script_that_ends_during_a_hanging_call_exits_promptly_and_leaves_nothing(
    kind: str, tmp_path: Path, spill_dir: Path
) -> None:
    mark = Mark()
    printed = run_script(HANGING_CALL, str(tmp_path / "started"), kind, env=mark.env)
    assert kind == "daemon" or printed == "cancelled: the backend was shut down\n"
    assert list(spill_dir.iterdir()) == []
    wait_until(lambda: not mark.pids(), 2.0)


@pytest.mark.parametrize(
    "last", ["", "gigaexec.shutdown_executor()", "gigaexec.shutdown_executor(wait=True)", "del backend"]
)
def test_r40_a_script_that_used_a_backend_exits_without_further_output(last: str, spill_dir: Path) -> None:
    script = f"""
    import gigaexec
    backend = gigaexec.LokyBackend() if {last == "del backend"} else None
    # The kernel needs a while to free this memory, so the worker's exit overlaps the script's exit.
    code = "import json\\ndef f():\\n    json.held = bytearray(b'x') * (300 << 20)\\n    return 7"
    print(gigaexec.run(code, "f", backend=backend))
    {last}
    """
    assert run_script(script) == "7\n"
    assert list(spill_dir.iterdir()) == []


def test_r40_backends_without_shutdown_end_with_the_script(spill_dir: Path) -> None:
    mark = Mark()
    script = """
    import os, gigaexec
    backends = [gigaexec.LokyBackend() for _ in range(2)]
    print([gigaexec.run("def f(): return 7", "f", backend=backend) for backend in backends])
    """
    assert run_script(script, env=mark.env) == "[7, 7]\n"
    assert list(spill_dir.iterdir()) == []
    wait_until(lambda: not mark.pids(), 2.0)


def test_r40_a_garbage_collected_backend_ends_its_workers() -> None:
    backend = gigaexec.LokyBackend()
    pid = gigaexec.run(PID, "f", backend=backend)
    del backend
    wait_until(lambda: not is_running(pid), what="the end of the worker of a collected backend")


@pytest.mark.parametrize("used_before", [True, False])
def test_r40_a_call_while_the_interpreter_exits_is_refused(used_before: bool) -> None:
    script = f"""
    import atexit
    from gigaexec import BackendClosedError, run

    def late():
        try:
            run("def f(): return 1", "f")
        except BackendClosedError as error:
            print(error)

    atexit.register(late)
    if {used_before}:
        run("def f(): return 1", "f")
    """
    assert run_script(script) == "the interpreter is exiting; no call can be run any more\n"


def test_a_script_without_a_main_guard_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("import gigaexec\nprint('run once', gigaexec.run('def f(): return 1', 'f'))\n")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("run once 1\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_r40_ctrl_c_ends_a_script_and_every_process_it_started(tmp_path: Path) -> None:
    mark = Mark()
    script = """
    import signal, sys, gigaexec
    # A shell starts background jobs with SIGINT ignored, and this process inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("1", flush=True)
    try:
        code = "import time\\ndef f(path):\\n    open(path, 'w')\\n    time.sleep(1000)"
        gigaexec.run(code, "f", sys.argv[1], deadline_s=2000)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    with started_script(script, str(tmp_path / "started"), env=mark.env) as process:
        wait_until((tmp_path / "started").exists)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        assert printed == "1\ninterrupted\n"
        assert process.returncode == 0
    wait_until(lambda: not mark.pids(), 2.0)
