"""R35: processes that a call left running in its worker. Each check runs in its own process."""

from __future__ import annotations

import sys

import pytest

from tests.process.scripts import json_of_script

HEAD = """
import json, os, signal, sys, threading, time
from gigaexec.worker import child_processes
"""


def run_cleanup_script(body: str) -> object:
    return json_of_script(HEAD + body)


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_r35_children_and_daemons_are_killed_and_reaped() -> None:
    body = """
assert child_processes.adopt_orphans() == []
reader, writer = os.pipe()

def start_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.write(writer, b"x")
            while True:
                time.sleep(100)
        os._exit(0)
    os.wait()

for _ in range(2):
    start_daemon()
for _ in range(2):
    if os.fork() == 0:
        os.write(writer, b"x")
        while True:
            time.sleep(100)
for _ in range(3):
    if os.fork() == 0:
        os._exit(0)
started = b""
while len(started) < 4:
    started += os.read(reader, 4)
killed = child_processes.end_child_processes()
try:
    os.waitpid(-1, os.WNOHANG)
    left = "children"
except ChildProcessError:
    left = ""
print(json.dumps([killed >= 4, left, child_processes.end_child_processes()]))
"""
    assert run_cleanup_script(body) == [True, "", 0]


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_r35_children_that_another_thread_started_are_found() -> None:
    body = """
pids, gate = [], threading.Event()

def start():
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    pids.append(os.posix_spawn(sys.executable, command, os.environ))
    gate.wait()

thread = threading.Thread(target=start)
thread.start()
while not pids:
    time.sleep(0.01)
killed = child_processes.end_child_processes()
gate.set()
thread.join()
print(json.dumps(killed))
"""
    assert run_cleanup_script(body) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
def test_r103_the_resource_tracker_ends_by_itself_and_removes_shared_memory() -> None:
    body = """
from multiprocessing.shared_memory import SharedMemory

def leave_memory():
    memory = SharedMemory(create=True, size=100)
    memory.close()
    return "/dev/shm/" + memory.name

seen = []
for _ in range(2):  # a second tracker starts after the first has ended
    path = leave_memory()
    seen.append([os.path.exists(path), child_processes.end_child_processes(), os.path.exists(path)])
    try:
        os.waitpid(-1, os.WNOHANG)
        seen.append("a child is left")
    except ChildProcessError:
        continue
print(json.dumps(seen))
"""
    found = json_of_script("import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n" + HEAD + body)
    assert found == [[True, 0, False], [True, 0, False]]


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_r103_a_resource_tracker_that_does_not_end_is_killed() -> None:
    body = """
from multiprocessing import resource_tracker
child_processes._TRACKER_LIMIT_S = 0.1
resource_tracker.ensure_running()
tracker = resource_tracker._resource_tracker
held = os.dup(tracker._fd)
print(json.dumps([child_processes.end_child_processes(), child_processes.end_child_processes()]))
"""
    assert run_cleanup_script(body) == [1, 0]
