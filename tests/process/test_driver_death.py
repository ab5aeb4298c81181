"""R36, R35, R22: when the driver dies, all its processes die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import gigaexec
from tests.conftest import wait_until
from tests.process.marked import Mark
from tests.process.refused_namespaces import REFUSE_NAMESPACES
from tests.process.scripts import described, is_running, read_json, started_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

GONE_WITHIN_S = 2.0

# `report()` signals the test; the code after it never ends.
PROGRAMS = {
    "sleeps": "report(); time.sleep(1000)",
    "loops": "report()\nwhile True: pass",
    "loops in C and holds the GIL": "report(); all(itertools.repeat(True))",
    "ignores every signal": """
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
report()
while True: time.sleep(1000)
""",
    "has stopped itself": "report(); os.kill(os.getpid(), signal.SIGSTOP)",
    "has a child": "subprocess.Popen(['sleep', '1000']); report(); time.sleep(1000)",
    "has a daemon": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        report()
        os.closerange(0, 100)
        while True: time.sleep(1000)
    os._exit(0)
time.sleep(1000)
""",
}

# The name of a backend in a driver that cannot create namespaces.
WITHOUT_NAMESPACES = "forkserver without namespaces"

# Runs the programs in an endless loop and prints the status of each call.
DRIVER = (
    f"""{REFUSE_NAMESPACES}
WITHOUT_NAMESPACES = {WITHOUT_NAMESPACES!r}
"""
    + """
import asyncio, json, os, sys
from gigaexec import ForkserverBackend, LokyBackend, WorkerCall, WorkerConfig, map_calls

programs, reports, enable_pdeathsig, deadline_s, backend_name = json.loads(sys.argv[1])
head = f'''
import itertools, os, signal, subprocess, time
def report():
    with open({reports!r}, "a") as file: file.write("x")
def f():
'''

def calls():
    while True:
        for program in programs:
            yield WorkerCall(head + "".join(f"    {line}\\n" for line in program.splitlines()), "f")

async def storm():
    config = WorkerConfig(
        max_workers=2,
        enable_pdeathsig=enable_pdeathsig,
        spill_dir=os.environ["GIGAEVO_EXECUTOR_SPILL_DIR"],
    )
    backend = (LokyBackend if backend_name == "loky" else ForkserverBackend)(config)
    outcomes = map_calls(calls(), deadline_s=deadline_s, backend=backend, ordered=False)
    async for outcome in outcomes:
        print(json.dumps(outcome.status), flush=True)

if backend_name == WITHOUT_NAMESPACES:
    refuse_namespaces()
asyncio.run(storm())
"""
)

BACKENDS = ["loky", "forkserver", WITHOUT_NAMESPACES]


class Driver:
    """A driver in a separate process, which runs programs and may be killed."""

    def __init__(self, process: subprocess.Popen[str], mark: Mark, reports: Path) -> None:
        self.process = process
        self._mark = mark
        self._reports = reports

    def wait_for_reports(self, count: int) -> None:
        """Wait until programs have called `report()` at least `count` times."""

        def have_arrived() -> bool:
            assert self.process.poll() is None, "the driver ended early"
            return self._reports.exists() and len(self._reports.read_text()) >= count

        wait_until(have_arrived, what=f"{count} reports of programs")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the driver; fail if its processes outlive it by more than GONE_WITHIN_S seconds."""
        children = [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        assert len(self._mark.pids()) >= 2, "expected the driver and at least one worker"
        self.process.send_signal(number)
        self.process.wait()
        wait_until(
            lambda: not self._mark.pids(),
            GONE_WITHIN_S,
            lambda: f"marked processes still run: {described(self._mark.pids())}",
        )
        wait_until(
            lambda: not any(map(is_running, children)),
            GONE_WITHIN_S,
            lambda: f"children of the driver still run: {described(filter(is_running, children))}",
        )


@contextmanager
def running_driver(
    folder: Path,
    programs: list[str],
    backend: str,
    *,
    enable_pdeathsig: bool = True,
    deadline_s: float = 1000.0,
) -> Iterator[Driver]:
    mark, reports = Mark(), folder / "reports"
    settings = json.dumps([programs, str(reports), enable_pdeathsig, deadline_s, backend])
    env = {**mark.env, "GIGAEVO_EXECUTOR_SPILL_DIR": str(folder / "spill")}
    with started_script(DRIVER, settings, env=env) as process:
        yield Driver(process, mark, reports)


@pytest.mark.parametrize("enable_pdeathsig", [True, False])
@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_r36_a_program_dies_with_a_killed_driver(
    backend: str, kind: str, enable_pdeathsig: bool, tmp_path: Path
) -> None:
    with running_driver(tmp_path, [PROGRAMS[kind]], backend, enable_pdeathsig=enable_pdeathsig) as driver:
        driver.wait_for_reports(2)
        driver.kill()


@pytest.mark.parametrize("enable_pdeathsig", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_r36_r22_a_driver_killed_in_a_storm_leaves_no_process_and_its_files_are_swept(
    backend: str, enable_pdeathsig: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storm = [
        *["time.sleep(0.01)"] * 8,
        "while True: pass",
        "os._exit(1)",
        "all(itertools.repeat(True))",
        "subprocess.Popen(['sleep', '1000'], start_new_session=True); os._exit(1)",
        "return b'x' * 2**22",
    ]
    with running_driver(
        tmp_path, storm, backend, enable_pdeathsig=enable_pdeathsig, deadline_s=0.2
    ) as driver:
        ended = {read_json(driver.process) for _ in range(30)}
        assert ended == {"ok", "timed_out", "crashed"}
        driver.kill()
    left_files = sorted((tmp_path / "spill").iterdir())
    assert left_files, "expected at least the lock of the killed driver's pool"
    monkeypatch.setenv("GIGAEVO_EXECUTOR_SPILL_DIR", str(tmp_path / "spill"))
    assert gigaexec.run("def f(): return 1", "f") == 1
    assert not any(path.exists() for path in left_files), (
        "the next pool must remove files of the killed driver"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV])
@pytest.mark.parametrize("backend", BACKENDS)
def test_r36_a_program_dies_with_a_driver_that_another_signal_ends(
    backend: str, number: signal.Signals, tmp_path: Path
) -> None:
    with running_driver(tmp_path, [PROGRAMS["loops"]], backend) as driver:
        driver.wait_for_reports(2)
        driver.kill(number)


@pytest.mark.parametrize("backend", BACKENDS)
def test_r36_idle_workers_die_with_the_driver(backend: str, tmp_path: Path) -> None:
    with running_driver(tmp_path, ["report()"] * 3 + ["report(); time.sleep(1000)"], backend) as driver:
        driver.wait_for_reports(4)
        driver.kill()


PDEATHSIG = """
import ctypes
def f():
    number = ctypes.c_int(-1)
    assert ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0) == 0  # PR_GET_PDEATHSIG
    return number.value
"""


@pytest.mark.parametrize(("enable_pdeathsig", "number"), [(True, signal.SIGKILL), (False, 0)])
def test_r36_workers_have_the_parent_death_signal_unless_it_is_turned_off(
    enable_pdeathsig: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIGAEVO_EXECUTOR_DISABLE_PDEATHSIG", "0" if enable_pdeathsig else "1")
    assert gigaexec.run(PDEATHSIG, "f") == number


def test_r36_the_end_of_the_thread_that_ran_the_first_call_kills_no_worker() -> None:
    pids: list[int] = []

    def first_call() -> None:
        pids.append(gigaexec.run("import os\ndef f(): return os.getpid()", "f"))

    thread = threading.Thread(target=first_call)
    thread.start()
    thread.join()
    assert gigaexec.run("import os\ndef f(): return os.getpid()", "f") == pids[0]


def test_r36_a_stopped_supervisor_dies_with_the_driver(tmp_path: Path) -> None:
    program = "os.kill(os.getppid(), signal.SIGSTOP); report(); time.sleep(1000)"
    with running_driver(tmp_path, [program], WITHOUT_NAMESPACES) as driver:
        driver.wait_for_reports(1)
        driver.kill()
