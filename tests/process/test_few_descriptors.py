"""R33: starts that fail because no descriptor is free leave none behind, and say what to do."""

from __future__ import annotations

import sys
import time

import pytest

from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")

# Starts workers with 0, 1, 2, ... free descriptors, and prints how many descriptors each start left open.
STARTS_WITH_FEW_DESCRIPTORS = """
    import gc, json, os, resource, sys, time
    from gigaexec import WorkerConfig
    from gigaexec.pool.starters.loky import LokyStarter

    starter = LokyStarter(WorkerConfig(max_workers=1), lambda: None)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def start(free):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if free is not None:
            highest = max(map(int, os.listdir("/proc/self/fd")))
            fillers = [os.dup(0) for _ in range(highest)]  # no gap below the limit
            highest = max(fillers)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + free, hard))
        try:
            process, pipes = starter.start_worker("0" * 12)
        except Exception:
            return
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if free is not None:
                for filler in fillers:
                    os.close(filler)
        pipes.close()
        process.dispose()

    start(None)
    gc.collect()
    left = {}
    for free in range(24):
        before = descriptors()
        start(free)
        gc.collect()
        limit = time.monotonic() + 5
        while descriptors() > before and time.monotonic() < limit:
            time.sleep(0.01)
            gc.collect()
        left[free] = descriptors() - before
    print(json.dumps(left))
"""

RUNS_WITH_20_DESCRIPTORS = """
    import json, resource, sys
    import gigaexec

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
    calls = [gigaexec.WorkerCall("def f(): return 1", "f")]
    (outcome,) = gigaexec.map(calls, deadline_s=60, backend=sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gigaexec.shutdown_executor(wait=True)
    print(json.dumps([outcome.status, str(outcome.error), outcome.queue_time_s + outcome.start_time_s]))
"""


def test_r33_a_failed_start_of_a_loky_worker_leaves_no_descriptor() -> None:
    left = json_of_script(STARTS_WITH_FEW_DESCRIPTORS)
    assert {free: count for free, count in left.items() if count} == {}


@pytest.mark.parametrize("backend", ["loky", "forkserver"])
def test_r33_a_limit_that_is_too_low_for_any_worker_is_reported_at_once(backend: str) -> None:
    began = time.monotonic()
    status, error, waited_s = json_of_script(RUNS_WITH_20_DESCRIPTORS, backend)
    assert status == "infrastructure"
    assert "open files" in error
    assert "20" in error
    assert "ulimit -n" in error
    assert waited_s < 5
    assert time.monotonic() - began < 50
