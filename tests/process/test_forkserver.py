"""R33, R35, R36, R50, R52: processes of a ForkserverBackend: their deaths, environment and descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import gigaexec
from gigaexec import (
    ForkserverBackend,
    Outcome,
    OutcomeStatus,
    ValueNotReadableError,
    WorkerCall,
    WorkerConfig,
)
from tests.conftest import wait_until
from tests.contract.recorded_pids import NOTE_PROCESS, RecordedPids
from tests.process.marked import Mark
from tests.process.refused_namespaces import REFUSE_NAMESPACES
from tests.process.scripts import is_running, json_of_script, read_json, started_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ForkserverBackend needs Linux")

ONE = WorkerCall("def f(): return 1", "f")

HANGS = f"""{NOTE_PROCESS}
def f(pids):
    note_process(pids)
    while True: pass
"""

# Succeeds, and leaves a daemon that ignores all signals it can.
LEAVES_DAEMON = f"""{NOTE_PROCESS}
import os, signal, time
def f(pids):
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}}:
                signal.signal(number, signal.SIG_IGN)
            note_process(pids)
            os.write(tell, b".")
            os.closerange(0, 1024)
            while True: time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    END
"""


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[ForkserverBackend]:
    """A backend with one worker."""
    backend = ForkserverBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    yield backend
    backend.shutdown_now(wait=True)


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[RecordedPids]:
    recorded = RecordedPids(tmp_path / "pids")
    yield recorded
    recorded.kill()


def launcher() -> psutil.Process:
    """Return the launcher, the only child that the backend started."""
    (found,) = (
        child
        for child in psutil.Process().children()
        if any("gigaexec.worker.forked.launcher" in word for word in child.cmdline())
    )
    return found


def template() -> psutil.Process:
    """Return the template, the launcher's child, which forks the workers."""
    (found,) = launcher().children()
    return found


@pytest.mark.parametrize(
    ("find", "number"),
    # The template is PID 1 of its namespace, so other signals do not kill it.
    [(launcher, signal.SIGKILL), (launcher, signal.SIGSEGV), (template, signal.SIGKILL)],
)
def test_r33_a_template_that_is_killed_between_calls_fails_no_call(
    backend: ForkserverBackend, find: Any, number: signal.Signals
) -> None:
    assert gigaexec.run(ONE.code, "f", backend=backend) == 1
    for _ in range(3):
        before = [launcher().pid, template().pid]
        find().send_signal(number)
        wait_until(lambda pids=before: not any(map(is_running, pids)))  # type: ignore[misc]
        assert gigaexec.run(ONE.code, "f", backend=backend) == 1


@pytest.mark.parametrize("find", [launcher, template])
def test_r33_a_template_that_is_killed_fails_the_running_call_and_no_other(
    backend: ForkserverBackend, pids: RecordedPids, find: Any
) -> None:
    async def scenario() -> list[Outcome]:
        running = asyncio.create_task(backend.run(WorkerCall(HANGS, "f", [pids.path]), deadline_s=60))
        await asyncio.to_thread(wait_until, pids.running)
        queued = [asyncio.create_task(backend.run(ONE, deadline_s=60)) for _ in range(3)]
        await asyncio.sleep(0)
        find().kill()
        return [await running, *await asyncio.gather(*queued)]

    crashed, *queued = asyncio.run(scenario())
    assert crashed.status is OutcomeStatus.CRASHED, crashed
    assert pids.running() == []
    assert [outcome.value for outcome in queued] == [1, 1, 1], queued


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("return 1", OutcomeStatus.OK),
        ("raise ValueError", OutcomeStatus.ERROR),
        ("os._exit(1)", OutcomeStatus.CRASHED),
        ("time.sleep(600)", OutcomeStatus.TIMED_OUT),
    ],
)
def test_r35_a_daemon_is_dead_when_its_call_has_ended(
    backend: ForkserverBackend, pids: RecordedPids, end: str, status: OutcomeStatus
) -> None:
    call = WorkerCall(LEAVES_DAEMON.replace("END", end), "f", [pids.path])
    outcome = asyncio.run(backend.run(call, deadline_s=0.5))
    assert outcome.status is status, outcome
    assert len(pids.all()) == 1
    assert pids.running() == []


def test_r52_no_descriptor_of_the_driver_is_inherited(backend: ForkserverBackend, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    code = """
import os
def f():
    links = []
    for number in os.listdir("/proc/self/fd"):
        try: links.append(os.readlink("/proc/self/fd/" + number))
        except FileNotFoundError: pass  # that of the listing
    return links
"""
    with (tmp_path / "secret").open() as before, (tmp_path / "secret").open() as between:
        os.set_inheritable(before.fileno(), True)
        for _ in range(2):
            seen = gigaexec.run(code, "f", backend=backend)
            assert not [link for link in seen if "secret" in link]
            assert len(seen) <= 8, seen
            os.set_inheritable(between.fileno(), True)


def test_r50_the_environment_block_of_a_worker_holds_no_secret(tmp_path: Path) -> None:
    code = """
def f():
    import os
    return [open(f"/proc/{pid}/environ").read() for pid in os.listdir("/proc") if pid.isdigit()]
"""
    script = """
import json, os, sys, gigaexec
os.environ["LATE_TOKEN"] = "the-secret-value"
backend = gigaexec.ForkserverBackend()
print(json.dumps([gigaexec.run(sys.argv[1], "f", backend=backend), os.environ["EARLY_TOKEN"]]))
backend.shutdown_now(wait=True)
"""
    env = {
        "EARLY_TOKEN": "the-secret-value",
        "GIGAEVO_NOTE": "for workers",
        "GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path / "spill"),
    }
    blocks, secret = json_of_script(script, code, env=env)
    assert secret == "the-secret-value"
    assert "GIGAEVO_NOTE=for workers" in blocks[-1]
    assert not [block for block in blocks if secret in block or "TOKEN" in block]


REFUSED = f"""{REFUSE_NAMESPACES}
import asyncio, json, sys
from gigaexec import ForkserverBackend, Limits, WorkerCall, WorkerConfig

async def main():
    backend = ForkserverBackend(WorkerConfig(max_workers=1))
    for code, deadline_s, memory_bytes in json.loads(sys.argv[2]):
        limits = Limits(memory_bytes=memory_bytes)
        call = WorkerCall(code, "f", [sys.argv[1]])
        outcome = await backend.run(call, deadline_s=deadline_s, limits=limits)
        steps = {{step.name: step.held for step in outcome.confinement}}
        facts = [outcome.status, str(outcome.error), steps, outcome.metrics is not None]
        print(json.dumps(facts), flush=True)
        sys.stdin.readline()
    await backend.shutdown(wait=True)

refuse_namespaces()
asyncio.run(main())
"""


def test_r35_without_namespaces_all_processes_of_a_call_end_with_it(
    tmp_path: Path, pids: RecordedPids
) -> None:
    holds = "if os.fork() == 0:\n    held = bytearray(b'x') * (300 << 20)\n    time.sleep(60)"
    ends = {
        "return 1": ("ok", 30.0),
        "raise ValueError": ("error", 30.0),
        "os._exit(7)": ("crashed", 30.0),
        "os.kill(os.getpid(), 11)": ("crashed", 30.0),
        "time.sleep(600)": ("timed_out", 0.5),
        "; ".join(["os.kill(os.getppid(), 9)", "time.sleep(600)"]): ("crashed", 30.0),
    }
    calls: list[Any] = [
        [LEAVES_DAEMON.replace("END", end), limit_s, None] for end, (_, limit_s) in ends.items()
    ]
    body = "\n    ".join([*holds.splitlines(), "time.sleep(60)"])
    calls.append([LEAVES_DAEMON.replace("END", body), 30.0, 200 << 20])
    expected = [*(status for status, _ in ends.values()), "memory_exceeded"]
    mark = Mark()
    env = {**mark.env, "GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path / "spill")}
    with started_script(REFUSED, pids.path, json.dumps(calls), env=env) as driver:
        assert driver.stdin is not None
        for number, status in enumerate(expected, start=1):
            ended, error, steps, has_metrics = read_json(driver)
            assert ended == status, (calls[number - 1][0], error)
            assert steps["pid_namespace"] is False
            assert has_metrics
            assert len(pids.all()) == number
            # The program killed its supervisor, so the call ends before the program's processes.
            if "getppid" in calls[number - 1][0]:
                wait_until(lambda: not pids.running(), 2.0)
            assert pids.running() == [], error
            driver.stdin.write("\n")
            driver.stdin.flush()
        assert driver.wait(timeout=30) == 0
    wait_until(lambda: not mark.pids(), 2.0, "processes of the driver still run")


def test_r31_threads_with_separate_event_loops_share_a_backend(backend: ForkserverBackend) -> None:
    answers: dict[int, list[int]] = {}

    def work(thread: int) -> None:
        async def calls() -> list[int]:
            each = (WorkerCall("def f(n): return n", "f", [thread * 100 + n]) for n in range(15))
            return list(await asyncio.gather(*(backend.execute(call, deadline_s=60) for call in each)))

        answers[thread] = asyncio.run(calls())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert answers == {thread: list(range(thread * 100, thread * 100 + 15)) for thread in range(4)}


FORKS = """
import json, os, sys, time, warnings
import gigaexec, psutil

warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork in a process with threads, since 3.12
backend = gigaexec.ForkserverBackend()
def one():
    return gigaexec.run("def f(): return b'x' * 2**20", "f", backend=backend) == b"x" * 2**20

def template():
    children = psutil.Process().children()
    own = psutil.Process().cmdline()  # that of a forked child as well
    commands = {child.pid: child.cmdline() for child in children}
    return [pid for pid, words in commands.items() if "worker.forked.launcher" in str(words) and words != own]

assert one()
"""


def test_r36_a_forked_driver_has_a_template_of_its_own(tmp_path: Path) -> None:
    body = """
before = template()
reader, writer = os.pipe()
if os.fork() == 0:
    found = [one(), one(), template()]
    backend.shutdown_now(wait=True)
    os.write(writer, json.dumps([*found, template()]).encode())
    os._exit(0)
os.close(writer)
child = json.loads(os.read(reader, 65536))
status = os.wait()[1]
print(json.dumps([child, status, one(), before, template()]))
backend.shutdown_now(wait=True)
"""
    env = {"GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path / "spill")}
    child, status, works, before, after = json_of_script(FORKS + body, env=env)
    assert (status, works) == (0, True)
    assert before == after, "the parent's template must survive the child"
    assert len(before) == 1
    assert child[:2] == [True, True]
    assert len(child[2]) == 1
    assert child[2] != before
    assert child[3] == []


@pytest.mark.parametrize("switch", ["0", "1"])
def test_r36_the_template_of_a_killed_driver_ends_even_if_a_forked_child_lives(
    switch: str, tmp_path: Path
) -> None:
    body = """
if (child := os.fork()) == 0:
    while True: time.sleep(1000)
print(json.dumps([child, template()]), flush=True)
time.sleep(1000)
"""
    mark = Mark()
    env = {
        **mark.env,
        "GIGAEVO_EXECUTOR_DISABLE_PDEATHSIG": switch,
        "GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path / "spill"),
    }
    with started_script(FORKS + body, env=env) as parent:
        child, templates = read_json(parent)
        try:
            started = {child.pid for child in psutil.Process(templates[0]).children(recursive=True)}
            assert started
            parent.kill()
            parent.wait()
            wait_until(lambda: not any(map(is_running, [*templates, *started])), 2.0, "a template still runs")
            assert is_running(child)
        finally:
            os.kill(child, signal.SIGKILL)
    wait_until(lambda: not mark.pids(), 2.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("os.ftruncate(file, 10_000_000)", "has 10000000 bytes; the worker wrote"),
        (
            "ctypes.CDLL(None).linkat(-100, b'/proc/self/fd/%d' % file, -100, NAMED, 0x400)",
            "has a path, so other processes could change the file",
        ),
    ],
)
def test_r23_a_result_file_that_the_program_tampered_with_is_refused(
    backend: ForkserverBackend, spill_dir: Path, tmp_path: Path, change: str, says: str
) -> None:
    code = f"""
import ctypes, os
class Tampers:
    def __reduce__(self):
        for number in os.listdir("/proc/self/fd"):
            file = int(number)
            try:
                if FOLDER in os.readlink(f"/proc/self/fd/{{file}}"): {change}
            except FileNotFoundError: pass
        return int, ()
def f(folder):
    global FOLDER, NAMED
    FOLDER, NAMED = folder, os.fsencode(folder) + b"/named"
    return [b"x" * 300_000, Tampers()]
"""
    outcome = asyncio.run(backend.run(WorkerCall(code, "f", [str(spill_dir)]), deadline_s=30))
    (spill_dir / "named").unlink(missing_ok=True)
    assert outcome.status is OutcomeStatus.ERROR, outcome
    assert isinstance(outcome.error, ValueNotReadableError)
    assert says in str(outcome.error)
