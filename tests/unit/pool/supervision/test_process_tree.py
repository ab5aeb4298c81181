"""R35: killing a process with its descendants, and finding processes that a dead worker left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import wait_until
from tests.process.scripts import is_running, read_json, started_script

from gigaexec.pool.supervision import process_tree
from gigaexec.pool.supervision.process_tree import kill_orphans, kill_tree, run_to_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Starts a child, a grandchild in a new session, and a daemon whose parent has ended. They ignore every signal
# that can be ignored. The script is a subreaper (prctl 36), like a worker, so it becomes the daemon's parent.
STARTS_A_TREE = """
    import ctypes, json, os, signal, sys, time

    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    reader, writer = os.pipe()

    def start(work):
        pid = os.fork()
        if pid == 0:
            try:
                for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(number, signal.SIG_IGN)
                work()
            finally:
                os._exit(0)
        return pid

    def report_and_stay():
        os.write(writer, b"%d\\n" % os.getpid())
        while True:
            time.sleep(100)

    def child():
        start(grandchild)
        report_and_stay()

    def grandchild():
        os.setsid()
        report_and_stay()

    start(child)
    start(lambda: start(lambda: (os.setsid(), report_and_stay())))
    pids = set()
    with open(reader) as lines:
        while len(pids) < 3:
            pids.add(int(lines.readline()))
    print(json.dumps(sorted(pids)), flush=True)
    sys.stdin.read()
"""

# Each process of the chain forks its successor and exits, so no two process listings show the same pid.
FORKS_ENDLESSLY = """
    import ctypes, os, time

    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    os.setpgid(0, 0)
    print("1", flush=True)
    if os.fork() == 0:
        while True:
            if os.fork():
                os._exit(0)
    while True:
        os.wait()
"""

# The first thread of the child ends (pthread_exit), so the child has state Z, while another thread runs.
ENDS_ITS_FIRST_THREAD = """
    import ctypes, json, os, pathlib, sys, threading, time

    pid = os.fork()
    if pid == 0:
        threading.Thread(target=lambda: time.sleep(600)).start()
        ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit of one thread
    while "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]:
        time.sleep(0.01)
    print(json.dumps(pid), flush=True)
    sys.stdin.read()
"""

DAEMON = """
    import json, os, sys
    print(json.dumps(os.getpid()), flush=True)
    os.environ.clear()
    sys.stdin.read()
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("with_pidfd", [True, False])
@pytest.mark.parametrize("lists_children", [True, False])
def test_r35_children_grandchildren_and_daemons_die_with_the_root(
    with_pidfd: bool,
    lists_children: bool,
    bystander: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if not lists_children:  # as on systems without /proc, where psutil lists children
        monkeypatch.setattr(process_tree, "_CAN_LIST_CHILDREN", tmp_path / "nothing")
    with started_script(STARTS_A_TREE) as root:
        pids = read_json(root)
        assert all(map(is_running, pids))
        pidfd = os.pidfd_open(root.pid) if with_pidfd else None
        try:
            run_to_end(kill_tree(root.pid, pidfd))
        finally:
            if pidfd is not None:
                os.close(pidfd)
        assert root.wait() == -signal.SIGKILL
        wait_until(lambda: not any(map(is_running, pids)))


def test_r35_a_stopped_process_can_be_killed(bystander: subprocess.Popen[bytes]) -> None:
    with started_script(STARTS_A_TREE) as root:
        pids = read_json(root)
        for pid in (root.pid, *pids):
            os.kill(pid, signal.SIGSTOP)
        run_to_end(kill_tree(root.pid, None))
        assert root.wait() == -signal.SIGKILL
        wait_until(lambda: not any(map(is_running, pids)))


def test_r35_a_process_whose_first_thread_has_ended_is_killed() -> None:
    with started_script(ENDS_ITS_FIRST_THREAD) as root:
        pid = read_json(root)
        pidfd = os.pidfd_open(pid)
        try:
            assert not select.select([pidfd], [], [], 0)[0]
            assert run_to_end(kill_tree(root.pid, None))
            assert select.select([pidfd], [], [], 0)[0], "expected the process to be dead"
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


def is_gone(group: int) -> bool:
    """Return True if a process group has no member. A scan of /proc could miss short-lived members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_r35_an_endless_chain_of_forks_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    with started_script(FORKS_ENDLESSLY) as root:
        read_json(root)
        try:
            assert run_to_end(kill_tree(root.pid, None))
            assert root.wait() == -signal.SIGKILL
            wait_until(lambda: is_gone(root.pid), what="the chain of forks still runs")
        finally:
            if not is_gone(root.pid):
                os.killpg(root.pid, signal.SIGKILL)
    assert not caplog.records


def test_r35_a_process_that_ends_between_two_listings_hides_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    root, ended, child = 2**22 + 1, 2**22 + 2, 2**22 + 3
    listings = iter([[ended], [ended], *[[ended, child]] * 9])
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(process_tree, "_children", lambda pid: next(listings) if pid == root else [])
    monkeypatch.setattr(process_tree, "_is_alive", lambda pid: pid == child and (pid, 9) not in sent)
    monkeypatch.setattr(process_tree, "_send", lambda pid, number: sent.append((pid, int(number))))
    assert run_to_end(kill_tree(root, None))
    assert (child, signal.SIGKILL) in sent


def test_r35_a_reaped_process_is_not_mistaken_for_another_with_its_pid() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    pidfd = os.pidfd_open(process.pid)
    try:
        process.wait()
        # The pid is this test's own, so a kill by pid instead of by pidfd would end the test.
        run_to_end(kill_tree(os.getpid(), pidfd))
    finally:
        os.close(pidfd)


def test_r35_orphans_are_found_by_the_worker_id_in_their_initial_environment() -> None:
    worker_id, other_id = uuid.uuid4().hex[:12], uuid.uuid4().hex[:12]
    with (
        started_script(DAEMON, env={"GIGAEVO_WORKER_ID": worker_id}) as ours,
        started_script(DAEMON, env={"GIGAEVO_WORKER_ID": other_id}) as other,
        started_script(DAEMON, env={"GIGAEVO_WORKER_ID": worker_id + "0"}) as longer,
        started_script(DAEMON, env={"MY_GIGAEVO_WORKER_ID": worker_id}) as mine,
    ):
        for process in (ours, other, longer, mine):
            read_json(process)
        assert run_to_end(kill_orphans([worker_id]))
        assert ours.wait() == -signal.SIGKILL
        assert [process.poll() for process in (other, longer, mine)] == [None, None, None]
        assert run_to_end(kill_orphans([worker_id, "no such id"]))
