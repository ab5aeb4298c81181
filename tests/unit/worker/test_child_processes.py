"""R35: what a call left behind in its worker. Each check runs in a process of its own."""

from __future__ import annotations

import sys

import pytest

from tests.process.scripts import json_of_script

HEAD = """
import json, os, resource, signal, subprocess, sys, threading, time
from gigaexec.worker import child_processes
from gigaexec.worker.reused import cleanup
"""


def run_cleanup_script(body: str) -> object:
    return json_of_script(HEAD + body)


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed by /proc")
def test_r35_children_and_daemons_are_killed_and_reaped() -> None:
    body = """
from gigaexec.worker.bootstrap import adopt_orphans
assert adopt_orphans() == []
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


def test_threads_that_go_on_are_named_and_ended_ones_are_not() -> None:
    body = """
gate = threading.Event()
ended = threading.Thread(target=int, name="ended")
ended.start()
ended.join()
threads = [threading.Thread(target=gate.wait, name=name, daemon=True) for name in ("poller", "logger")]
for thread in threads:
    thread.start()
names = cleanup.leftover_thread_names()
gate.set()
for thread in threads:
    thread.join()
print(json.dumps([names, cleanup.leftover_thread_names()]))
"""
    assert run_cleanup_script(body) == [["poller", "logger"], []]


def test_descriptors_run_low_in_the_upper_half() -> None:
    body = """
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
at_start = cleanup.descriptors_run_low()
opened = []
try:
    while True:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
used_up = cleanup.descriptors_run_low()
for descriptor in opened[8:]:
    os.close(descriptor)
print(json.dumps([at_start, used_up, cleanup.descriptors_run_low()]))
"""
    assert run_cleanup_script(body) == [False, True, False]
