"""What of a sandbox holds on this machine: each step is tried with a call."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from gigaexec.backends.local.forkserver import ForkserverBackend
from gigaexec.calls import ConfinementStep, Outcome, WorkerCall
from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.quantities import seconds_text
from gigaexec.config import WorkerConfig
from gigaexec.sandbox.policy import SandboxPolicy

_TOPIC = "sandbox"
_CALL = WorkerCall("def trial():\n    return 'fine'\n", "trial")
_DEADLINE_S = 30.0

# What is lost with a step, and what usually refuses it.
_LOSSES = {
    "user_namespace": "no namespace can be made; containers refuse it by default, and some distributions do",
    "pid_namespace": "processes of a call are found and killed one by one, and may see others",
    "mount_namespace": "no file system can be made read-only for a call",
    "read_only_mounts": "modes, owners and times of this user's files can be changed",
    "private_proc": "parts of /proc are covered, as in containers; multiprocessing has no semaphores",
    "network_namespace": "the network is refused by seccomp alone",
    "ipc_namespace": "System V IPC is refused by seccomp alone",
    "no_capabilities": "programs keep the capabilities of this process",
    "no_new_privileges": "setuid programs gain privileges",
    "landlock_files": "every file of this user can be read and written",
    "landlock_network": "TCP is refused by seccomp alone",
    "landlock_scopes": "without a PID namespace, processes of this user can be sent signals",
    "seccomp": "system calls are not filtered: sockets, io_uring and rarely used ones are open",
}


def probe_sandbox(config: WorkerConfig) -> Finding:
    """Run two calls in the standard sandbox and report which steps of it hold."""
    if sys.platform != "linux":
        return Finding(_TOPIC, State.WARNING, "Linux only", "Run hostile programs in a virtual machine.")
    with tempfile.TemporaryDirectory() as folder:
        trial = replace(
            config,
            max_workers=1,
            spill_dir=Path(folder) / "spill",
            sandbox=SandboxPolicy.standard(),
            max_calls_per_worker=None,
            max_worker_rss_mb=None,
        )
        cold, warm = asyncio.run(_run_twice(trial))
    failed = next((outcome for outcome in (cold, warm) if not outcome.ok), None)
    if failed is not None:
        fact = f"a call failed ({failed.status.value}): {failed.error}"
        return Finding(_TOPIC, State.WARNING, fact, "Use --backend loky, and only for code you trust.")
    return _finding(warm)


def _finding(outcome: Outcome) -> Finding:
    missing = [step for step in outcome.confinement if not step.held]
    took = seconds_text(outcome.queue_time_s + outcome.start_time_s + outcome.run_time_s)
    data = {"steps": [asdict(step) for step in outcome.confinement]}
    held = len(outcome.confinement) - len(missing)
    if not missing:
        return Finding(_TOPIC, State.OK, f"all {held} steps hold, so strict works; {took} a call", data=data)
    fact = f"{held} of {len(outcome.confinement)} steps hold; not: {', '.join(map(_as_text, missing))}"
    advice = "; ".join(f"{step.name}: {_LOSSES.get(step.name, 'see docs/security.md')}" for step in missing)
    return Finding(_TOPIC, State.WARNING, fact, f"The strict sandbox refuses to run here. {advice}.", data)


def _as_text(step: ConfinementStep) -> str:
    return f"{step.name} ({step.detail})" if step.detail else step.name


async def _run_twice(config: WorkerConfig) -> tuple[Outcome, Outcome]:
    backend = ForkserverBackend(config)
    try:
        cold = await backend.run(_CALL, deadline_s=_DEADLINE_S)
        return cold, await backend.run(_CALL, deadline_s=_DEADLINE_S)
    finally:
        await backend.shutdown(wait=True)
