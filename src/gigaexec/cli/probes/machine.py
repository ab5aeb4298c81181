"""CPUs, memory and descriptors: what the machine has, and what this process may use of it."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

import psutil

from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.quantities import memory_text
from gigaexec.config import WorkerConfig, allowed_cpu_count

_CGROUP_ROOT = Path("/sys/fs/cgroup")
# An interpreter with numpy loaded holds about 35 MiB; programs come on top.
_MIN_MEMORY_PER_WORKER_KB = 128 * 1024
# A worker takes up about 8 descriptors of the driver while it starts, and the command some 30 for itself.
_DESCRIPTORS_PER_WORKER = 12
_DESCRIPTORS_OF_DRIVER = 64


def probe_cpus(config: WorkerConfig) -> Finding:
    """The CPUs that this process may use, and how many workers that makes."""
    allowed, present = allowed_cpu_count(), os.cpu_count() or 1
    quota = _cgroup_cpus()
    data = {"allowed": allowed, "present": present, "cgroup_quota": quota, "workers": config.worker_count}
    fact = f"{allowed} of {present} allowed; {config.worker_count} calls run at once"
    if quota is None or quota >= config.worker_count:
        return Finding("CPUs", State.OK, fact, data=data)
    fits = max(1, math.floor(quota))
    return Finding(
        "CPUs",
        State.WARNING,
        f"{fact}, but the control group grants the time of {quota:g}",
        f"Calls will wait for each other and overrun deadlines: set GIGAEVO_EXECUTOR_MAX_WORKERS={fits}.",
        data,
    )


def probe_memory(config: WorkerConfig) -> Finding:
    """The memory that is free, the control group's limit counted in."""
    free_kb = psutil.virtual_memory().available // 1024
    limit = _cgroup_number("memory.max")
    used = _cgroup_number("memory.current")
    if limit is not None and used is not None:
        free_kb = min(free_kb, max(0, limit - used) // 1024)
    data = {"free_kb": free_kb, "cgroup_limit_bytes": limit}
    fact = f"{memory_text(free_kb)} free" + ("" if limit is None else f", limit {memory_text(limit // 1024)}")
    if free_kb >= _MIN_MEMORY_PER_WORKER_KB * config.worker_count:
        return Finding("memory", State.OK, fact, data=data)
    advice = f"That is little for {config.worker_count} workers: set GIGAEVO_EXECUTOR_MAX_WORKERS lower."
    return Finding("memory", State.WARNING, fact, advice, data)


def probe_descriptors(config: WorkerConfig) -> Finding:
    """How many files this process may hold open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS_OF_DRIVER + _DESCRIPTORS_PER_WORKER * config.worker_count
    data = {"limit": None if limit == resource.RLIM_INFINITY else limit, "needed": needed}
    if limit == resource.RLIM_INFINITY or limit >= needed:
        fact = "no limit" if limit == resource.RLIM_INFINITY else f"at most {limit} open files"
        return Finding("open files", State.OK, fact, data=data)
    fact = f"at most {limit} open files; {config.worker_count} workers may need {needed}"
    return Finding("open files", State.WARNING, fact, f"Run: ulimit -n {needed}", data)


def _cgroup_cpus() -> float | None:
    quota, _, period = _cgroup_text("cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cgroup_number(name: str) -> int | None:
    text = _cgroup_text(name)
    return int(text) if text.isdigit() else None


def _cgroup_text(name: str) -> str:
    """Content of a file of this process's control group (version 2); "" where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
        group = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
        return (_CGROUP_ROOT / group / name).read_text("ascii").strip()
    except (OSError, StopIteration, UnicodeDecodeError):
        return ""
