"""R61: resource usage of a call. Each check runs in its own process."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.process.scripts import json_of_script

HEAD = """
import dataclasses, json, os, subprocess, sys, time
from gigaexec.worker.call.accounting import Accountant

accountant = Accountant("0123456789ab", "node-1")

def cost_of(work):
    measurement = accountant.start()
    work()
    return dataclasses.asdict(measurement.stop())

def burn(seconds=0.2):
    limit = time.process_time() + seconds
    while time.process_time() < limit:
        pass

def hold(megabytes):
    held = bytearray(megabytes * 2**20)
    for page in range(0, len(held), 4096):
        held[page] = 1
"""


def run_accounting_script(body: str) -> Any:
    return json_of_script(HEAD + body)


def test_r61_the_wall_time_is_the_difference_of_its_two_clock_readings() -> None:
    body = """
before = time.monotonic_ns()
cost = cost_of(burn)
print(json.dumps([cost, before, time.monotonic_ns(), os.getpid()]))
"""
    cost, before_ns, after_ns, pid = run_accounting_script(body)
    assert cost["wall_time_s"] == (cost["finished_at_ns"] - cost["started_at_ns"]) / 1e9
    assert before_ns <= cost["started_at_ns"] <= cost["finished_at_ns"] <= after_ns
    assert cost["wall_time_s"] >= 0.2
    assert (cost["worker_pid"], cost["worker_id"], cost["node_id"]) == (pid, "0123456789ab", "node-1")


def test_r61_cpu_times_are_the_calls_own_and_of_children_it_waited_for() -> None:
    body = """
burn(0.5)
own = cost_of(lambda: burn(0.2))
idle = cost_of(lambda: None)
source = "import time\\nwhile time.process_time() < 0.3: pass"
child = cost_of(lambda: subprocess.run([sys.executable, "-c", source], check=True))
print(json.dumps([cost["user_time_s"] + cost["sys_time_s"] for cost in (own, idle, child)]))
"""
    own_s, idle_s, child_s = run_accounting_script(body)
    assert 0.15 <= own_s <= 0.45
    assert idle_s < 0.1
    assert child_s >= 0.25


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report the process's lifetime peak")
def test_r61_the_memory_peak_is_the_calls_own_not_of_the_workers_life() -> None:
    body = """
large = cost_of(lambda: hold(200))
small = cost_of(lambda: hold(20))
print(json.dumps([large["peak_rss_kb"], small["peak_rss_kb"], accountant.rss_kb()]))
"""
    large_kb, small_kb, now_kb = run_accounting_script(body)
    assert large_kb >= 200 * 1024
    assert 20 * 1024 <= small_kb <= large_kb - 150 * 1024
    assert now_kb <= large_kb - 150 * 1024


def test_r61_a_program_that_closes_all_descriptors_still_gets_metrics() -> None:
    body = """
os.dup2(1, 60)
cost = cost_of(lambda: os.closerange(3, 50))
again = cost_of(lambda: None)
print(json.dumps([cost["peak_rss_kb"], again["peak_rss_kb"], accountant.rss_kb()]))
"""
    assert all(peak_kb > 1000 for peak_kb in run_accounting_script(body))
