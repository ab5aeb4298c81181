"""Probe of the sandbox: run calls to find out which steps of the sandbox succeed on this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from gigaexec.backends.local.forkserver import ForkserverBackend
from gigaexec.calls import ConfinementStep
from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.probes.workers import run_trial_twice, total_time_s
from gigaexec.cli.short_texts import seconds_text
from gigaexec.config import WorkerConfig
from gigaexec.sandbox.policy import SandboxPolicy

_TOPIC = "sandbox"

# Step -> consequence if the step is missing. For some steps, the usual cause follows.
_CONSEQUENCES = {
    "user_namespace": "no namespaces, so other steps fail too; containers and some distributions refuse them",
    "pid_namespace": "the processes of a call are found and killed one by one, and may see other "
    "processes; multiprocessing may have no semaphores",
    "mount_namespace": "no file system can be made read-only for a call",
    "read_only_mounts": "programs can change modes, owners and times of this user's files; "
    "multiprocessing may have no semaphores",
    "private_proc": "only Landlock hides other processes; usual in containers, which cover parts of /proc",
    "network_namespace": "only seccomp blocks the network",
    "ipc_namespace": "only seccomp blocks System V IPC",
    "no_capabilities": "programs keep the capabilities of this process",
    "no_new_privileges": "setuid programs gain privileges",
    "landlock_files": "programs can read and write every file of this user",
    "landlock_network": "only seccomp blocks TCP",
    "landlock_scopes": "programs can send signals to processes of this user if pid_namespace is missing too",
    "seccomp": "system calls are not filtered: sockets, io_uring and rarely used ones are allowed",
}


def probe_sandbox(config: WorkerConfig) -> Finding:
    """Run two calls in the standard sandbox, and report which steps of the sandbox succeeded.

    Args:
        config: The result of `WorkerConfig.from_env()`.
    """
    if sys.platform != "linux":
        return Finding(_TOPIC, State.WARNING, "Linux only", "Run hostile programs in a virtual machine.")
    with tempfile.TemporaryDirectory() as folder:
        trial_config = replace(
            config,
            max_workers=1,
            spill_dir=Path(folder) / "spill",
            sandbox=SandboxPolicy.standard(),
            max_calls_per_worker=None,
            max_worker_rss_mb=None,
        )
        cold, warm = run_trial_twice(ForkserverBackend(trial_config))
    failed = next((outcome for outcome in (cold, warm) if not outcome.ok), None)
    if failed is not None:
        fact = f"a call failed ({failed.status.value}): {failed.error}"
        return Finding(_TOPIC, State.WARNING, fact, "Use --backend loky, and only for code that you trust.")
    return sandbox_finding(warm.confinement, took_s=total_time_s(warm))


def sandbox_finding(steps: Sequence[ConfinementStep], *, took_s: float) -> Finding:
    """Return the finding about the sandbox steps of a call.

    Args:
        steps: `Outcome.confinement` of the call.
        took_s: Time from the submission of the call to its outcome, seconds.
    """
    missing = [step for step in steps if not step.held]
    data = {"steps": [asdict(step) for step in steps]}
    total = len(steps)
    if not missing:
        fact = f"all {total} steps succeed, so the strict sandbox works; a call took {seconds_text(took_s)}"
        return Finding(_TOPIC, State.OK, fact, data=data)
    fact = f"{total - len(missing)} of {total} steps succeed. Missing:\n{_missing_text(missing)}"
    consequences = [
        f"Without {step.name}: {_CONSEQUENCES.get(step.name, 'see docs/security.md')}." for step in missing
    ]
    advice = "\n".join(["The strict sandbox is not available on this machine.", *consequences])
    return Finding(_TOPIC, State.WARNING, fact, advice, data)


def _missing_text(missing: list[ConfinementStep]) -> str:
    """Return one line per reason: the names of the missing steps, then the reason."""
    names_by_reason: dict[str, list[str]] = {}
    for step in missing:
        names_by_reason.setdefault(step.detail or "no reason is known", []).append(step.name)
    return "\n".join(f"{', '.join(names)}: {reason}" for reason, names in names_by_reason.items())
