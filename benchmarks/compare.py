"""Compare gigaexec with common alternatives on this machine, in one run.

    python benchmarks/compare.py trivial [--calls 2000]
        One small function: sequential calls, then many calls in flight.
    python benchmarks/compare.py storm [--runs 3]
        200 programs on 2 workers: 80 % sleep 10 ms, 10 % loop endlessly with a deadline of 0.5 s, 10 % call
        os._exit(1).
    python benchmarks/compare.py fresh [--calls 2000]
        A new process for each call, forked from a template, compared with reused workers and new
        interpreters; also for a program that imports numpy.
    python benchmarks/compare.py sandbox [--calls 2000]
        The cost of each sandbox level.
    python benchmarks/compare.py results [--runs 3]
        A return value that is an array of 256 MB.
    python benchmarks/compare.py shared [--calls 2000]
        An argument of 256 MB, passed to many calls.

The output is Markdown tables of medians and their ranges. Only ratios within one run are meaningful.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import isolation

import gigaexec

WORKERS = 2
IDENTITY = "def f(x):\n    return x\n"
SLEEP = "import time\ndef f(x):\n    time.sleep(0.01)\n    return x\n"
LOOP = "def f(x):\n    while True:\n        pass\n"
EXIT = "import os\ndef f(x):\n    os._exit(1)\n"
DEADLINE_S = 0.5
IDEAL_STORM_S = (160 * 0.01 + 20 * DEADLINE_S) / WORKERS


def run_program(code: str, argument: Any) -> Any:
    """Run a program in a worker of ProcessPoolExecutor, without gigaexec."""
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace["f"](argument)


def run_in_new_interpreter(code: str, argument: Any, deadline_s: float) -> Any:
    """Run a program in a new interpreter, the usual alternative for isolation."""
    script = f"{code}\nimport json\nprint(json.dumps(f({argument!r})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=deadline_s, check=True, text=True
    )
    return json.loads(done.stdout)


def storm_programs(seed: int) -> list[str]:
    """Return the 200 programs in an order determined by `seed`."""
    programs = [SLEEP] * 160 + [LOOP] * 20 + [EXIT] * 20
    random.Random(seed).shuffle(programs)
    return programs


def trivial(calls: int) -> list[list[str]]:
    """Return rows: name, median ms per call, 99th percentile ms, calls per second with many in flight."""
    rows = []
    backend = gigaexec.LokyBackend(gigaexec.WorkerConfig(max_workers=WORKERS))
    rows.append(["gigaexec LokyBackend", *asyncio.run(_trivial_gigaexec(backend, calls))])
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        latencies = [_timed(lambda: pool.submit(run_program, IDENTITY, 1).result()) for _ in range(calls)]
        started = time.perf_counter()
        concurrent.futures.wait([pool.submit(run_program, IDENTITY, 1) for _ in range(calls)])
        rows.append(["ProcessPoolExecutor", *_latency_cells(latencies, calls, started)])
    few = max(20, calls // 50)
    latencies = [_timed(lambda: run_in_new_interpreter(IDENTITY, 1, 10.0)) for _ in range(few)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
        started = time.perf_counter()
        list(threads.map(lambda _: run_in_new_interpreter(IDENTITY, 1, 10.0), range(few)))
        rows.append(["a new interpreter per call", *_latency_cells(latencies, few, started)])
    return rows


async def _trivial_gigaexec(backend: gigaexec.LokyBackend, calls: int) -> list[str]:
    call = gigaexec.WorkerCall(IDENTITY, "f", [1])
    await asyncio.gather(*(backend.run(call, deadline_s=10.0) for _ in range(20)))
    latencies = []
    for _ in range(calls):
        before = time.perf_counter()
        await backend.run(call, deadline_s=10.0)
        latencies.append(time.perf_counter() - before)
    started = time.perf_counter()
    same = (call for _ in range(calls))
    async for outcome in gigaexec.map_calls(same, deadline_s=10.0, ordered=False, backend=backend):
        assert outcome.ok
    cells = _latency_cells(latencies, calls, started)
    await backend.shutdown(wait=True)
    return cells


def _timed(action: Callable[[], Any]) -> float:
    before = time.perf_counter()
    action()
    return time.perf_counter() - before


def _latency_cells(latencies: list[float], calls: int, started: float) -> list[str]:
    rate = calls / (time.perf_counter() - started)
    return [
        f"{statistics.median(latencies) * 1e3:.2f}",
        f"{statistics.quantiles(latencies, n=100)[-1] * 1e3:.2f}",
        f"{rate:.0f}",
    ]


def storm(runs: int) -> list[list[str]]:
    """Return rows: name, wall time in seconds, how many of the 160 sleeping programs failed."""
    candidates = {
        "gigaexec ForkserverBackend": lambda programs: _storm_gigaexec(programs, gigaexec.ForkserverBackend),
        "gigaexec LokyBackend": lambda programs: _storm_gigaexec(programs, gigaexec.LokyBackend),
        "a new interpreter per call": _storm_new_interpreters,
        "ProcessPoolExecutor, replaced when broken": _storm_pool,
    }
    rows = []
    for name, run_storm in candidates.items():
        results = [run_storm(storm_programs(seed)) for seed in range(runs)]
        walls = sorted(wall for wall, _ in results)
        failures = sorted(failed for _, failed in results)
        rows.append(
            [name, f"{statistics.median(walls):.1f} ({walls[0]:.1f}-{walls[-1]:.1f})", f"{failures[-1]}"]
        )
    return rows


def _storm_gigaexec(programs: list[str], kind: Callable[..., Any]) -> tuple[float, int]:
    async def run_all() -> tuple[float, int]:
        backend = kind(gigaexec.WorkerConfig(max_workers=WORKERS))
        calls = (gigaexec.WorkerCall(code, "f", [1]) for code in programs)
        started = time.perf_counter()
        outcomes = gigaexec.map_calls(calls, deadline_s=DEADLINE_S, ordered=False, backend=backend)
        failed = sum([not outcome.ok and programs[outcome.index] is SLEEP async for outcome in outcomes])
        wall = time.perf_counter() - started
        await backend.shutdown(wait=True)
        return wall, failed

    return asyncio.run(run_all())


def _storm_new_interpreters(programs: list[str]) -> tuple[float, int]:
    def fails_though_healthy(code: str) -> bool:
        try:
            run_in_new_interpreter(code, 1, DEADLINE_S)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return code is SLEEP
        return False

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
        failed = sum(threads.map(fails_though_healthy, programs))
    return time.perf_counter() - started, failed


def _storm_pool(programs: list[str]) -> tuple[float, int]:
    # As a careful user of ProcessPoolExecutor would do: at most two calls in flight; after a hang or crash
    # the pool is killed and replaced.
    started = time.perf_counter()
    failed = 0
    pool = concurrent.futures.ProcessPoolExecutor(WORKERS)
    for pair in _in_pairs(programs):
        futures = [(code, pool.submit(run_program, code, 1)) for code in pair]
        is_broken = False
        for code, future in futures:
            try:
                future.result(timeout=DEADLINE_S)
            except (TimeoutError, BrokenProcessPool):
                is_broken = True
                failed += code is SLEEP
        if is_broken:
            for process in pool._processes.values():
                process.kill()
            pool.shutdown(wait=True)
            pool = concurrent.futures.ProcessPoolExecutor(WORKERS)
    pool.shutdown()
    return time.perf_counter() - started, failed


def _in_pairs(items: list[str]) -> Iterable[list[str]]:
    return (items[start : start + 2] for start in range(0, len(items), 2))


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    for row in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    """Run one comparison and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("comparison", choices=("trivial", "storm", "fresh", "sandbox", "results", "shared"))
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    calls, runs = arguments.calls, arguments.runs
    rates = ["", "median ms", "99 % ms", "calls/s, many in flight"]
    if arguments.comparison == "trivial":
        _print_table(rates, trivial(calls))
    elif arguments.comparison == "fresh":
        _print_table(rates, isolation.fresh(calls))
    elif arguments.comparison == "sandbox":
        _print_table(rates, isolation.sandbox(calls))
    elif arguments.comparison == "results":
        _print_table(["", "median ms", "growth of the driver's memory, MB"], isolation.results(runs))
    elif arguments.comparison == "shared":
        header = ["", "calls", "seconds", "ms per call", "memory of all processes, MB"]
        _print_table(header, isolation.shared(calls))
    else:
        print(f"ideal: {IDEAL_STORM_S:.1f} s\n")
        _print_table(["", "wall s", "healthy programs failed, of 160"], storm(runs))


if __name__ == "__main__":
    main()
