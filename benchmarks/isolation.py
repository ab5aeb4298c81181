"""Cost of a new process for each call, with and without sandbox, compared with common alternatives."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gigaexec
from gigaexec import ForkserverBackend, LokyBackend, SandboxPolicy, WorkerCall, WorkerConfig

WORKERS = 2
IDENTITY = "def f(x):\n    return x\n"
WITH_NUMPY = "import numpy\n" + IDENTITY
ARRAY_MB = 256
MAKE_ARRAY = f"import numpy\ndef f():\n    return numpy.ones({ARRAY_MB} * 2**17)\n"
READ_ARRAY = "def f(array):\n    return float(array[0] + array[-1])\n"
LONG_S = 120.0

Backend = ForkserverBackend | LokyBackend
Rows = list[list[str]]


def fresh(calls: int) -> Rows:
    """Return rows: name, median ms per call, 99th percentile ms, calls per second with many in flight."""
    rows = []
    for suffix, program, preload in (("", IDENTITY, ()), (", numpy", WITH_NUMPY, ("numpy",))):
        rows += [
            [
                f"ForkserverBackend{suffix}",
                *_rates(ForkserverBackend(_config(preload=preload)), program, calls),
            ],
            [f"LokyBackend (reused workers){suffix}", *_rates(LokyBackend(_config()), program, calls)],
            [f"a new interpreter per call{suffix}", *_interpreter_rates(program, max(20, calls // 50))],
        ]
    return rows


def sandbox(calls: int) -> Rows:
    """Return one row for each sandbox preset, with the columns of `fresh`."""
    policies = (SandboxPolicy.off(), SandboxPolicy.standard(), SandboxPolicy.strict())
    return [
        [f"sandbox {policy.level}", *_rates(ForkserverBackend(_config(sandbox=policy)), IDENTITY, calls)]
        for policy in policies
    ]


def results(runs: int) -> Rows:
    """Return rows: name, median ms for an array of 256 MB, growth of the driver's private memory in MB."""
    backends: list[tuple[str, Backend]] = [
        ("ForkserverBackend", ForkserverBackend(_config(preload=("numpy",)))),
        (
            "ForkserverBackend, standard",
            ForkserverBackend(_config(preload=("numpy",), sandbox=SandboxPolicy.standard())),
        ),
        ("LokyBackend", LokyBackend(_config())),
    ]
    rows = []
    for name, backend in backends:

        def call(backend: Backend = backend) -> Any:
            return asyncio.run(backend.execute(WorkerCall(MAKE_ARRAY, "f"), deadline_s=LONG_S))

        call()
        rows.append([name, *_time_and_memory(call, runs)])
        backend.shutdown_now(wait=True)
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(_make_array).result()
        rows.append(
            ["ProcessPoolExecutor", *_time_and_memory(lambda: pool.submit(_make_array).result(), runs)]
        )
    return rows


def shared(calls: int) -> Rows:
    """Return rows: name, calls, seconds, ms per call, peak memory of all processes in MB."""
    import numpy

    array = numpy.ones(ARRAY_MB * 2**17)
    rows = []
    few = max(5, calls // 50)
    for name, backend in (
        ("ForkserverBackend", ForkserverBackend(_config(preload=("numpy",)))),
        ("LokyBackend", LokyBackend(_config())),
    ):
        share = backend.share(array)
        rows.append([f"{name}, shared", *_calls_with(backend, share, calls)])
        rows.append([f"{name}, as a plain argument", *_calls_with(backend, array, few)])
        backend.shutdown_now(wait=True)
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        rows.append(
            ["ProcessPoolExecutor", *_measured(lambda: list(pool.map(_read_array, [array] * few)), few)]
        )
    return rows


def _config(**settings: Any) -> WorkerConfig:
    return WorkerConfig(max_workers=WORKERS, **settings)


def _rates(backend: Backend, program: str, calls: int) -> list[str]:
    return asyncio.run(_async_rates(backend, WorkerCall(program, "f", [1]), calls))


async def _async_rates(backend: Backend, call: WorkerCall, calls: int) -> list[str]:
    for outcome in await asyncio.gather(*(backend.run(call, deadline_s=LONG_S) for _ in range(20))):
        assert outcome.ok, outcome
    latencies = []
    for _ in range(max(50, calls // 4)):
        before = time.perf_counter()
        await backend.run(call, deadline_s=LONG_S)
        latencies.append(time.perf_counter() - before)
    started = time.perf_counter()
    same = (call for _ in range(calls))
    async for outcome in gigaexec.map_calls(same, deadline_s=LONG_S, ordered=False, backend=backend):
        assert outcome.ok, outcome
    rate = calls / (time.perf_counter() - started)
    await backend.shutdown(wait=True)
    return _cells(latencies, rate)


def _interpreter_rates(program: str, calls: int) -> list[str]:
    def run(_: int = 0) -> float:
        before = time.perf_counter()
        script = f"{program}\nprint(f(1))"
        subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=LONG_S, check=True)
        return time.perf_counter() - before

    latencies = [run() for _ in range(calls)]
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(run, range(calls)))
    return _cells(latencies, calls / (time.perf_counter() - started))


def _cells(latencies: list[float], rate: float) -> list[str]:
    return [
        f"{statistics.median(latencies) * 1e3:.2f}",
        f"{statistics.quantiles(latencies, n=100)[-1] * 1e3:.2f}",
        f"{rate:.0f}",
    ]


def _time_and_memory(call: Callable[[], Any], runs: int) -> list[str]:
    times = []
    with _Peak(_own_private_mb) as peak:
        for _ in range(runs):
            before = time.perf_counter()
            value = call()
            times.append(time.perf_counter() - before)
            assert value.nbytes == ARRAY_MB * 2**20
            del value
    return [f"{statistics.median(times) * 1e3:.0f}", f"{peak.growth_mb:.0f}"]


def _calls_with(backend: Backend, argument: Any, calls: int) -> list[str]:
    call = WorkerCall(READ_ARRAY, "f", [argument])

    async def run_all() -> None:
        same = (call for _ in range(calls))
        async for outcome in gigaexec.map_calls(same, deadline_s=LONG_S, ordered=False, backend=backend):
            assert outcome.value == 2.0, outcome

    asyncio.run(backend.run(WorkerCall(IDENTITY, "f", [1]), deadline_s=LONG_S))
    return _measured(lambda: asyncio.run(run_all()), calls)


def _measured(action: Callable[[], Any], calls: int) -> list[str]:
    before = time.perf_counter()
    with _Peak(_memory_of_all_mb) as peak:
        action()
    duration_s = time.perf_counter() - before
    return [str(calls), f"{duration_s:.2f}", f"{duration_s / calls * 1e3:.1f}", f"{peak.highest_mb:.0f}"]


def _make_array() -> Any:
    import numpy

    return numpy.ones(ARRAY_MB * 2**17)


def _read_array(array: Any) -> float:
    return float(array[0] + array[-1])


class _Peak:
    """A sampler that records the peak of a memory amount, 100 times per second."""

    def __init__(self, sample_mb: Callable[[], float]) -> None:
        self._sample_mb = sample_mb
        self._first_mb = self.highest_mb = sample_mb()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    @property
    def growth_mb(self) -> float:
        return self.highest_mb - self._first_mb

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self.highest_mb = max(self.highest_mb, self._sample_mb())


def _own_private_mb() -> float:
    return _field_mb(Path("/proc/self/status"), "RssAnon:")


def _memory_of_all_mb() -> float:
    """Return the memory of this process and its descendants in MB, with shared pages counted once."""
    total = 0.0
    unvisited = [os.getpid()]
    while unvisited:
        pid = unvisited.pop()
        total += _field_mb(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                unvisited += map(int, (thread / "children").read_text().split())
        except OSError:
            continue
    return total


def _field_mb(path: Path, name: str) -> float:
    try:
        line = next(line for line in path.read_text().splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return 0.0
    return int(line.split()[1]) / 1024
