"""R36: a worker ends with its driver. Each check runs in its own process."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG of Linux")

HEAD = """
import itertools, json, os, signal, time
from gigaexec.worker.death import die_with_driver, watch_lifeline_on_thread

lifeline, our_end = os.pipe()
ready, report = os.pipe()

def status_of_child(work):
    driver_pid = os.getpid()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os.close(our_end)
        work(driver_pid)
        os._exit(0)
    os.read(ready, 1)
    os.close(our_end)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize(
    "never_ends", ["all(itertools.repeat(True))", "time.sleep(1000)", "exec('while True: pass')"]
)
def test_r36_the_end_of_the_lifeline_kills_a_busy_process(never_ends: str) -> None:
    body = f"""
def work(driver_pid):
    assert die_with_driver(lifeline, driver_pid, False) == []
    os.write(report, b"x")
    {never_ends}

print(json.dumps(status_of_child(work)))
"""
    assert json_of_script(HEAD + body) == -signal.SIGKILL


def test_r36_a_thread_watches_the_lifeline_if_the_kernel_cannot() -> None:
    body = """
def work(driver_pid):
    watch_lifeline_on_thread(lifeline)
    os.write(report, b"x")
    time.sleep(1000)

print(json.dumps(status_of_child(work)))
"""
    assert json_of_script(HEAD + body) == -signal.SIGKILL


def test_r36_a_process_whose_driver_has_already_ended_does_not_start() -> None:
    body = """
if (child := os.fork()) == 0:
    die_with_driver(lifeline, os.getpid(), True)  # not the parent's pid
    os._exit(0)
by_parent = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
lifeline, our_end = os.pipe()

def work_after_the_end(driver_pid):
    os.write(report, b"x")
    while os.get_blocking(lifeline) and os.read(lifeline, 1):
        pass
    die_with_driver(lifeline, driver_pid, True)

by_lifeline = status_of_child(work_after_the_end)
print(json.dumps([by_parent, by_lifeline]))
"""
    assert json_of_script(HEAD + body) == [1, 1]


def test_r36_a_prctl_that_the_kernel_refuses_is_reported_with_its_errno() -> None:
    body = """
from gigaexec.worker import death
print(json.dumps(death.prctl("PR_NO_SUCH_THING", 123456, 0)))
"""
    (warning,) = json_of_script(HEAD + body)
    assert warning == "prctl(PR_NO_SUCH_THING) failed: errno 22 (Invalid argument)"
