"""Probes that run calls in real workers, and that kill a driver."""

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

from gigaexec.backends.local.base import LocalBackend
from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import Outcome, WorkerCall
from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.short_texts import seconds_text
from gigaexec.config import WorkerConfig

_CALL_TOPIC = "a call"
_DEATH_TOPIC = "parent death"
_DEADLINE_S = 30.0
_DEATH_LIMIT_S = 2.0
_SHORTEST_SHOWN_S = 1e-5

_TRIAL = WorkerCall("def trial():\n    return 'fine'\n", "trial")

# A program that reports the worker's pid, and the signal that PR_SET_PDEATHSIG has set. The 2 is
# PR_GET_PDEATHSIG, from linux/prctl.h.
_WORKER_FACTS = """
import ctypes, os, sys

def facts():
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)
    return {"pid": os.getpid(), "death_signal": number.value}
"""

# The script of a driver: it runs a call, prints the facts about the worker, then waits to be killed.
_DRIVER = f"""
import sys
sys.path[:] = sys.argv[1:]
import json
import gigaexec

print(json.dumps(gigaexec.run({_WORKER_FACTS!r}, "facts")), flush=True)
sys.stdin.read()
"""


def probe_call(config: WorkerConfig) -> Finding:
    """Start a worker and run two calls in this worker.

    Args:
        config: The result of `WorkerConfig.from_env()`.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A temporary spill directory: another probe reports whether the configured directory can be used.
        trial_config = replace(config, max_workers=1, spill_dir=Path(folder) / "spill")
        cold, warm = run_trial_twice(LokyBackend(trial_config))
    failed = next((outcome for outcome in (cold, warm) if not outcome.ok), None)
    if failed is not None:
        return Finding(
            _CALL_TOPIC,
            State.PROBLEM,
            f"failed ({failed.status.value}): {failed.error}",
            "Check the limits of this user or container: processes, memory, open files.",
            {"status": failed.status.value},
        )
    cold_s, warm_s = total_time_s(cold), total_time_s(warm)
    fact = (
        f"works; {seconds_text(cold_s)} in a new worker, {seconds_text(warm_s)} in a reused one"
        " (start method: loky, fork and exec of a new interpreter)"
    )
    data = {"start_method": "loky", "cold_s": cold_s, "warm_s": warm_s}
    return Finding(_CALL_TOPIC, State.OK, fact, data=data)


def probe_parent_death(config: WorkerConfig) -> Finding:
    """Start a driver with a worker, kill the driver with SIGKILL, and wait for the end of the worker.

    Args:
        config: The result of `WorkerConfig.from_env()`. If `enable_pdeathsig` is True, the worker should have
            set PR_SET_PDEATHSIG.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GIGAEVO_EXECUTOR_SPILL_DIR": str(Path(folder) / "spill")}
        driver = subprocess.Popen(
            [sys.executable, "-c", _DRIVER, *map(os.path.abspath, sys.path)],
            # Not the user's current folder: the driver imports modules from its current folder.
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        with driver:
            try:
                assert driver.stdout is not None
                facts = json.loads(driver.stdout.readline())
                worker = psutil.Process(facts["pid"])
            except (ValueError, psutil.Error):
                driver.kill()
                assert driver.stderr is not None
                error_output = driver.stderr.read().decode(errors="replace").strip()
                return Finding(_DEATH_TOPIC, State.PROBLEM, f"the trial did not start: {error_output}")
            driver.kill()
            took_s = _seconds_until_gone(worker)
    return _death_finding(took_s, facts["death_signal"], config)


def run_trial_twice(backend: LocalBackend) -> tuple[Outcome, Outcome]:
    """Run a trivial call twice and shut the backend down. The first call includes the start of a worker."""

    async def run_twice() -> tuple[Outcome, Outcome]:
        try:
            cold = await backend.run(_TRIAL, deadline_s=_DEADLINE_S)
            return cold, await backend.run(_TRIAL, deadline_s=_DEADLINE_S)
        finally:
            await backend.shutdown(wait=True)

    return asyncio.run(run_twice())


def total_time_s(outcome: Outcome) -> float:
    """Return the seconds between the submission of a call and its outcome."""
    return outcome.queue_time_s + outcome.start_time_s + outcome.run_time_s


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
            f"a worker was still running {_DEATH_LIMIT_S:g} s after its driver was killed",
            "Workers of killed drivers stay on this machine: end them by hand, and report this as a bug.",
            data,
        )
    took = f"< {seconds_text(_SHORTEST_SHOWN_S)}" if took_s < _SHORTEST_SHOWN_S else seconds_text(took_s)
    fact = f"workers end with their driver ({took})"
    if death_signal:
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG is set", data=data)
    if not config.enable_pdeathsig:
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG is turned off", data=data)
    if sys.platform != "linux":
        return Finding(_DEATH_TOPIC, State.OK, f"{fact}; PR_SET_PDEATHSIG exists on Linux only", data=data)
    return Finding(_DEATH_TOPIC, State.WARNING, f"{fact}, but the kernel refused PR_SET_PDEATHSIG", "", data)
