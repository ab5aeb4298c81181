"""Real calls in real workers, and the death of a driver."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import Outcome, WorkerCall
from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.quantities import seconds_text
from gigaexec.config import WorkerConfig

_CALL_TOPIC = "a call"
_DEATH_TOPIC = "parent death"
_DEADLINE_S = 30.0
_DEATH_LIMIT_S = 2.0

_TRIAL = "def trial():\n    return 'fine'\n"

# Asks the kernel for what PR_SET_PDEATHSIG was set to; 2 is PR_GET_PDEATHSIG, from linux/prctl.h.
_WORKER_FACTS = """
import ctypes, os, sys

def facts():
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)
    return {"pid": os.getpid(), "death_signal": number.value}
"""

# Runs a call, tells of its worker, then waits to be killed.
_DRIVER = f"""
import sys
sys.path[:] = sys.argv[1:]
import json
import gigaexec

print(json.dumps(gigaexec.run({_WORKER_FACTS!r}, "facts")), flush=True)
sys.stdin.read()
"""


def probe_call(config: WorkerConfig) -> Finding:
    """Start a worker and run two calls in it."""
    with tempfile.TemporaryDirectory() as folder:
        # A folder of its own: a spill directory that cannot be used is a finding already.
        cold, warm = asyncio.run(_run_twice(replace(config, max_workers=1, spill_dir=Path(folder) / "spill")))
    failed = next((outcome for outcome in (cold, warm) if not outcome.ok), None)
    if failed is not None:
        return Finding(
            _CALL_TOPIC,
            State.PROBLEM,
            f"failed ({failed.status.value}): {failed.error}",
            "Read the message above; a restricted container or too little memory are common there.",
            {"status": failed.status.value},
        )
    cold_s, warm_s = (one.queue_time_s + one.start_time_s + one.run_time_s for one in (cold, warm))
    fact = (
        f"works; {seconds_text(cold_s)} with a new worker, {seconds_text(warm_s)} with a warm one"
        " (start method: loky, a new interpreter by fork and exec)"
    )
    data = {"start_method": "loky", "cold_s": cold_s, "warm_s": warm_s}
    return Finding(_CALL_TOPIC, State.OK, fact, data=data)


def probe_parent_death(config: WorkerConfig) -> Finding:
    """Start a driver with a worker, kill the driver with SIGKILL, and watch the worker."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GIGAEVO_EXECUTOR_SPILL_DIR": str(Path(folder) / "spill")}
        driver = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, *map(os.path.abspath, sys.path)],
            # It and what loky starts would import from the user's.
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        with driver:
            try:
                assert driver.stdout is not None
                told = driver.stdout.readline()
                worker = psutil.Process(json.loads(told)["pid"])
            except (ValueError, psutil.Error):
                driver.kill()
                assert driver.stderr is not None
                last_words = driver.stderr.read().decode(errors="replace").strip()
                return Finding(_DEATH_TOPIC, State.PROBLEM, f"the trial did not start: {last_words}")
            driver.kill()
            took_s = _seconds_until_gone(worker)
    return _death_finding(took_s, json.loads(told)["death_signal"], config)


async def _run_twice(config: WorkerConfig) -> tuple[Outcome, Outcome]:
    backend = LokyBackend(config)
    call = WorkerCall(_TRIAL, "trial")
    try:
        cold = await backend.run(call, deadline_s=_DEADLINE_S)
        return cold, await backend.run(call, deadline_s=_DEADLINE_S)
    finally:
        await backend.shutdown(wait=True)


def _seconds_until_gone(worker: psutil.Process) -> float | None:
    started_s = time.monotonic()
    while (elapsed_s := time.monotonic() - started_s) < _DEATH_LIMIT_S:
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return elapsed_s
        time.sleep(0.002)
    worker.kill()
    return None


def _death_finding(took_s: float | None, death_signal: int, config: WorkerConfig) -> Finding:
    data = {"worker_gone_s": took_s, "pr_set_pdeathsig": death_signal or None}
    if took_s is None:
        return Finding(
            _DEATH_TOPIC,
            State.PROBLEM,
            f"a worker was still there {_DEATH_LIMIT_S:g} s after its driver was killed",
            "Workers of a killed driver will pile up on this machine; look for them and report this.",
            data,
        )
    fact = f"a worker was gone {seconds_text(took_s)} after its driver was killed with SIGKILL"
    if death_signal:
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG is set", data=data)
    if not config.enable_pdeathsig:
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG is turned off", data=data)
    if sys.platform != "linux":
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG is Linux's alone", data=data)
    return Finding(_DEATH_TOPIC, State.WARNING, f"{fact}, but the kernel refused PR_SET_PDEATHSIG", "", data)
