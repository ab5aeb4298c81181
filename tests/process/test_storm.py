"""R33, R22, R35: of 200 calls, 20 % hang or end their process without effect on the others."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import psutil

from gigaexec import LokyBackend, Outcome, WorkerCall, WorkerConfig, map_calls

HEALTHY = """
import time
def f(number, path):
    with open(path, "a") as file: file.write(f"{number}\\n")
    time.sleep(0.01)
    return number
"""
HANGS = "def f(number, path):\n    while True: pass"
EXITS = "import os\ndef f(number, path): os._exit(1)"

EXPECTED = {HEALTHY: "ok", HANGS: "timed_out", EXITS: "crashed"}


def storm(path: str) -> list[WorkerCall]:
    programs = [HEALTHY] * 160 + [HANGS] * 20 + [EXITS] * 20
    random.Random(0).shuffle(programs)
    return [WorkerCall(program, "f", [number, path]) for number, program in enumerate(programs)]


def test_r33_a_storm_fails_no_healthy_call_and_leaves_nothing(tmp_path: Path, spill_dir: Path) -> None:
    runs = tmp_path / "runs"
    calls = storm(str(runs))

    async def run_all() -> list[Outcome]:
        backend = LokyBackend(WorkerConfig(max_workers=2, spill_dir=spill_dir))
        unordered = map_calls(calls, deadline_s=0.5, backend=backend, ordered=False)
        outcomes = [outcome async for outcome in unordered]
        await backend.shutdown(wait=True)
        return outcomes

    outcomes = asyncio.run(run_all())
    by_index = {outcome.index: outcome for outcome in outcomes}
    assert len(outcomes) == len(by_index) == len(calls)
    for index, call in enumerate(calls):
        outcome = by_index[index]
        assert outcome.status == EXPECTED[call.code], outcome
        assert outcome.value == (index if outcome.ok else None)
    times_run = Counter(map(int, runs.read_text().split()))
    assert times_run == Counter(index for index, outcome in by_index.items() if outcome.ok), (
        "expected one run each"
    )
    assert list(spill_dir.iterdir()) == []
    assert not [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "GIGAEVO_WORKER_ID" in process.environ()
    except psutil.Error:
        return False
