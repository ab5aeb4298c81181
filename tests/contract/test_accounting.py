"""R61: resource usage of a call excludes earlier calls of its worker."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from gigaexec import ExecutionMetrics, WorkerCall
from tests.contract.conftest import Kind, MakeBackend, Run

_MB_IN_KB = 1024
_ALLOCATE = "def f(megabytes): return len(bytearray(b'x') * (megabytes << 20))"


def _metrics(run: Run, code: str, *args: Any) -> ExecutionMetrics:
    outcome = run(code, *args)
    assert outcome.metrics is not None, outcome.error
    return outcome.metrics


def test_r61_the_memory_peak_of_a_small_call_is_measured_after_a_large_one(run: Run, kind: Kind) -> None:
    trivial = _metrics(run, "def f(): pass")
    large = _metrics(run, _ALLOCATE, 300)
    small = _metrics(run, _ALLOCATE, 20)
    assert large.peak_rss_kb - trivial.peak_rss_kb == pytest.approx(300 * _MB_IN_KB, rel=0.05)
    assert small.peak_rss_kb - trivial.peak_rss_kb == pytest.approx(20 * _MB_IN_KB, rel=0.05)
    assert large.lifetime_peak_rss_kb >= 300 * _MB_IN_KB
    assert (small.lifetime_peak_rss_kb >= 300 * _MB_IN_KB) is kind.reuses_workers
    assert (small.worker_id == large.worker_id) is kind.reuses_workers


def test_r61_kernel_time_is_counted_as_sys_time(run: Run) -> None:
    code = """
import os, time
def f():
    while os.times().system < START + 0.3:
        os.pread(FILE, 1 << 20, 0)
    return time.process_time()
START, FILE = os.times().system, os.open("/dev/zero", os.O_RDONLY)
"""
    cost = _metrics(run, code)
    assert 0.25 <= cost.sys_time_s < 2
    assert cost.sys_time_s > cost.user_time_s


def test_r61_context_switches_and_page_faults_are_counted(run: Run) -> None:
    idle = _metrics(run, "def f(): pass")
    sleeps = _metrics(run, "import time\ndef f():\n    for _ in range(200): time.sleep(0.0005)")
    assert sleeps.voluntary_switches - idle.voluntary_switches >= 150
    spins = (
        "import time\ndef f():\n    s = time.process_time()\n    while time.process_time() < s + 0.2: pass"
    )
    assert _metrics(run, spins).voluntary_switches < 50
    touches = "import mmap\ndef f():\n    m = mmap.mmap(-1, 4 << 20)\n    m[::4096] = b'x' * 1024"
    assert _metrics(run, touches).minor_faults - idle.minor_faults >= 500


def test_r61_bytes_in_and_out_are_the_bytes_sent(run: Run) -> None:
    small = _metrics(run, "def f(data=b''): return len(data)")
    assert 0 < small.bytes_in < 1000
    assert 0 < small.bytes_out < 100
    assert 500_000 <= _metrics(run, "def f(data): return 1", b"x" * 500_000).bytes_in < 501_000
    assert 400_000 <= _metrics(run, "def f(): return b'x' * 400_000").bytes_out < 401_000
    assert _metrics(run, "def f(): raise ValueError").bytes_out == 0


def test_r61_bytes_in_counts_an_array_but_not_a_shared_array(backend: Any) -> None:
    array = np.zeros(2**20)

    async def both() -> list[int]:
        calls = [WorkerCall("def f(a): return a.nbytes", "f", [a]) for a in (array, backend.share(array))]
        outcomes = [await backend.run(call, deadline_s=30) for call in calls]
        assert [outcome.value for outcome in outcomes] == [2**23] * 2, outcomes
        return [outcome.metrics.bytes_in for outcome in outcomes]

    plain, shared = asyncio.run(both())
    assert 2**23 <= plain < 2**23 + 10_000
    assert shared < 10_000


def test_r61_a_call_that_does_not_answer_has_metrics_if_the_backend_can_measure_it(
    make_backend: MakeBackend, kind: Kind
) -> None:
    code = """
import os, time
def f():
    held = bytearray(b"x") * (100 << 20)
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    os._exit(3)
"""
    outcome = asyncio.run(make_backend().run(WorkerCall(code, "f"), deadline_s=30))
    if not kind.knows_cost_of_killed:
        assert outcome.metrics is None
        return
    cost = outcome.metrics
    assert cost.peak_rss_kb > 100 * _MB_IN_KB
    assert 0.29 <= cost.user_time_s + cost.sys_time_s < 2
    assert cost.wall_time_s >= 0.3
