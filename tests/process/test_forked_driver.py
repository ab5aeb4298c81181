"""R36, R31: a forked driver: the child gets new workers, and keeps none of the parent's processes alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gigaexec.pool.files.spill import SpillDirectory
from tests.conftest import wait_until
from tests.process.marked import Mark
from tests.process.scripts import is_running, json_of_script, read_json, started_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; macOS cannot fork safely")

HEAD = """
import asyncio, json, os, signal, sys, threading, time, warnings
import gigaexec
from gigaexec import WorkerCall

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of os.fork with threads
PID = "import os\\ndef f(): return os.getpid(), os.getppid()"
SLEEP = "import time\\ndef f(): time.sleep(1000)"
"""


def test_r36_a_forked_child_gets_its_own_workers_and_those_of_the_parent_still_run(spill_dir: Path) -> None:
    body = """
backend = gigaexec.LokyBackend()
large = "def f(): return b'x' * 2**20"
before = gigaexec.run(PID, "f", backend=backend)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    seen = [gigaexec.run(PID, "f", backend=backend) for _ in range(2)]
    assert len(gigaexec.run(large, "f", backend=backend)) == 2**20
    backend.shutdown_now(wait=True)
    os.write(writer, json.dumps([seen, os.getpid()]).encode())
    os._exit(0)
os.close(writer)
in_child, child_pid = json.loads(os.read(reader, 65536))
_, status = os.waitpid(child, 0)
assert len(gigaexec.run(large, "f", backend=backend)) == 2**20
after = gigaexec.run(PID, "f", backend=backend)
backend.shutdown_now(wait=True)
print(json.dumps([before, in_child, child_pid, after, status]))
"""
    before, in_child, child_pid, after, status = json_of_script(HEAD + body)
    assert status == 0
    assert after == before, "the parent's worker must survive the child"
    assert in_child[0] == in_child[1]
    assert in_child[0][0] != before[0]
    assert in_child[0][1] == child_pid, "the child must start its own worker"
    assert list(spill_dir.iterdir()) == []


@pytest.mark.parametrize("guard_lives", [True, False])
def test_r36_workers_die_with_their_killed_parent_although_a_forked_child_lives(
    guard_lives: bool, tmp_path: Path
) -> None:
    body = """
worker_pid, _ = gigaexec.run(PID, "f")
threading.Thread(
    target=gigaexec.run, args=(SLEEP, "f"),
    kwargs={"deadline_s": 2000}, daemon=True,
).start()
child = os.fork()
if child == 0:
    while True:
        time.sleep(1000)
print(json.dumps([worker_pid, child]), flush=True)
time.sleep(1000)
"""
    mark = Mark()
    env = {
        **mark.env,
        "GIGAEVO_EXECUTOR_DISABLE_PDEATHSIG": "1",
        "GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path / "spill"),
    }
    with started_script(HEAD + body, env=env) as parent:
        worker_pid, child = read_json(parent)
        try:
            assert worker_pid in mark.worker_pids()
            if not guard_lives:  # without the guard, only the closed lifeline pipe ends the workers
                (guard,) = (
                    p for p in psutil.Process(parent.pid).children() if "guard.py" in str(p.cmdline())
                )
                guard.kill()
            parent.kill()
            parent.wait()
            wait_until(lambda: not mark.worker_pids(), 2.0, "the end of the workers")
            assert is_running(child)
            SpillDirectory(tmp_path / "spill").close()
            assert list((tmp_path / "spill").iterdir()) == [], "the child must not hold the lock of the pool"
        finally:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: not mark.pids(), 2.0, "the end of the child")


def test_r36_a_forked_child_that_ends_does_not_end_its_parents_workers() -> None:
    body = """
import multiprocessing

def use_backend():
    assert gigaexec.run("def f(): return 3", "f") == 3

worker = gigaexec.run(PID, "f")
if (child := os.fork()) == 0:
    os._exit(0)
statuses = [os.waitpid(child, 0)[1]]
for target in (None, use_backend):
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join()
    statuses.append(process.exitcode)
print(json.dumps([statuses, worker, gigaexec.run(PID, "f")]))
"""
    statuses, before, after = json_of_script(HEAD + body)
    assert statuses == [0, 0, 0]
    assert before == after


def test_r31_a_fork_while_other_threads_run_calls_does_not_hang_the_child() -> None:
    body = """
import multiprocessing

stop = threading.Event()

def keep_busy():
    while not stop.is_set():
        gigaexec.run(PID, "f")

def use_backend():
    signal.alarm(30)
    assert gigaexec.run("def f(): return 5", "f") == 5

gigaexec.run(PID, "f")  # imports everything: at the fork, no thread may hold an import lock
threads = [threading.Thread(target=keep_busy) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = []
for _ in range(8):
    process = multiprocessing.get_context("fork").Process(target=use_backend)
    process.start()
    process.join()
    statuses.append(process.exitcode)
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(statuses))
"""
    assert json_of_script(HEAD + body) == [0] * 8


@pytest.mark.parametrize("name", ["loky", "forkserver"])
def test_r109_no_forked_child_hangs_while_three_backends_replace_workers(name: str) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "fork_stress.py"
    ended = subprocess.run(
        [sys.executable, str(script), "--backend", name, "--forks", "40", "--limit", "20"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert ended.stdout.endswith("0 children hung or failed\n")


@pytest.mark.parametrize("kind", ["LokyBackend", "ForkserverBackend"])
def test_r109_a_child_that_is_forked_while_a_worker_starts_keeps_none_of_its_descriptors(kind: str) -> None:
    body = """
from gigaexec.pool.starters import forkserver, loky

starter = {"LokyBackend": loky.LokyStarter, "ForkserverBackend": forkserver.ForkserverStarter}[sys.argv[1]]
start, pipes, is_starting = starter.start_worker, [], threading.Event()

def start_slowly(self, worker_id):
    process, its_pipes = start(self, worker_id)
    pipes.append(its_pipes)
    is_starting.set()
    time.sleep(0.3)  # the dispatcher does not know the worker yet
    return process, its_pipes

def targets():
    numbers = [pipes[0].channel.fileno(), pipes[0].lifeline, pipes[0].stdout, pipes[0].stderr]
    return {os.readlink(f"/proc/self/fd/{number}") for number in numbers if number is not None}

def links_of_this_process():
    return {os.readlink(entry) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry)}

starter.start_worker = start_slowly
backend = getattr(gigaexec, sys.argv[1])(gigaexec.WorkerConfig(max_workers=1))
thread = threading.Thread(target=gigaexec.run, args=(PID, "f"), kwargs={"backend": backend})
thread.start()
assert is_starting.wait(30)
of_worker = targets()
if os.fork() == 0:
    os._exit(1 if of_worker & links_of_this_process() else 0)
status = os.wait()[1]
thread.join()
backend.shutdown_now(wait=True)
print(json.dumps(status))
"""
    assert json_of_script(HEAD + body, kind) == 0
