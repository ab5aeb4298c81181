"""R36: the guard process, which kills orphans when the driver was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import pytest
from tests.process.scripts import started_script

from gigaexec.pool.supervision.guard import Guard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard needs /proc")

WAITS = """
    import sys
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


def test_r36_a_stopped_guard_does_not_block_the_driver_and_misses_nothing(guard: Guard) -> None:
    worker_id = uuid.uuid4().hex[:12]
    os.kill(guard.pid, signal.SIGSTOP)
    try:

        def tell_more_than_fits_into_a_pipe() -> None:
            for number in range(10_000):
                guard.watch(f"{number:012x}")
            guard.watch(worker_id)
            for number in range(9_990):
                guard.unwatch(f"{number:012x}")

        driver = threading.Thread(target=tell_more_than_fits_into_a_pipe, daemon=True)
        driver.start()
        driver.join(20)
        is_blocked = driver.is_alive()
    finally:
        os.kill(guard.pid, signal.SIGCONT)
    driver.join(20)
    assert not is_blocked
    with started_script(WAITS, env={"GIGAEVO_WORKER_ID": worker_id}) as orphan:
        assert orphan.stdout is not None
        orphan.stdout.readline()
        guard.close()
        assert orphan.wait(20) == -signal.SIGKILL


def test_r36_the_death_of_the_guard_is_logged_once(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    os.kill(guard.pid, signal.SIGKILL)
    os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)
    for number in range(5):
        guard.watch(f"{number:012x}")
    assert caplog.text.count("the guard process is dead") == 1


def test_r36_a_worker_that_is_forgotten_is_not_killed(guard: Guard) -> None:
    worker_id = uuid.uuid4().hex[:12]
    guard.watch(worker_id)
    guard.unwatch(worker_id)
    with started_script(WAITS, env={"GIGAEVO_WORKER_ID": worker_id}) as bystander:
        assert bystander.stdout is not None
        bystander.stdout.readline()
        guard.close()
        with pytest.raises(subprocess.TimeoutExpired):
            bystander.wait(0.3)
