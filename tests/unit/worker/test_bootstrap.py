"""R36, R50: what turns a process into a worker, each part alone and in a process of its own."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for a signal")

HEAD = """
import ctypes, itertools, json, os, pathlib, signal, sys, time
from gigaexec.worker.bootstrap import die_with_driver, replace_environment, watch_lifeline_on_thread

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
def test_r36_the_end_of_the_lifeline_kills_whatever_the_process_does(never_ends: str) -> None:
    body = f"""
def work(driver_pid):
    assert die_with_driver(lifeline, driver_pid, False) == []
    os.write(report, b"x")
    {never_ends}

print(json.dumps(status_of_child(work)))
"""
    assert json_of_script(HEAD + body) == -signal.SIGKILL


def test_r36_where_the_kernel_cannot_be_asked_a_thread_watches_the_lifeline() -> None:
    body = """
def work(driver_pid):
    watch_lifeline_on_thread(lifeline)
    os.write(report, b"x")
    time.sleep(1000)

print(json.dumps(status_of_child(work)))
"""
    assert json_of_script(HEAD + body) == -signal.SIGKILL


def test_r36_a_process_whose_driver_is_gone_already_does_not_start() -> None:
    body = """
if (child := os.fork()) == 0:
    die_with_driver(lifeline, os.getpid(), True)  # whatever its parent is, it is not that
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


def test_r36_a_refused_request_of_the_kernel_is_reported_with_its_errno() -> None:
    body = """
from gigaexec.worker import bootstrap
print(json.dumps(bootstrap._prctl("PR_NO_SUCH_THING", 123456, 0)))
"""
    (warning,) = json_of_script(HEAD + body)
    assert warning == "prctl(PR_NO_SUCH_THING) failed: errno 22 (Invalid argument)"


def test_r50_the_environment_is_replaced_wherever_it_can_be_read() -> None:
    body = """
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
kept = {"GIGAEVO_WORKER_ID": "0123456789ab", "PATH": os.environ["PATH"], "NEW": "1"}
warnings = replace_environment(kept)
block = pathlib.Path("/proc/self/environ").read_bytes()
print(json.dumps([
    warnings,
    dict(os.environ) == kept,
    libc.getenv(b"A_SECRET"),
    libc.getenv(b"NEW").decode(),
    b"A_SECRET" in block or b"hidden" in block,
    block.startswith(b"GIGAEVO_WORKER_ID=0123456789ab\\0"),
]))
"""
    found = json_of_script(HEAD + body, env={"A_SECRET": "hidden"})
    assert found == [[], True, None, "1", False, True]


def test_r50_an_environment_larger_than_the_place_of_the_old_one_is_cut_only_in_proc() -> None:
    body = """
kept = {"GIGAEVO_WORKER_ID": "0123456789ab", "LARGE": "x" * 1_000_000}
assert replace_environment(kept) == []
block = pathlib.Path("/proc/self/environ").read_bytes()
print(json.dumps([dict(os.environ) == kept, block.startswith(b"GIGAEVO_WORKER_ID=0123456789ab\\0")]))
"""
    assert json_of_script(HEAD + body) == [True, True]
