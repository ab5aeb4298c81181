"""Probes of CPUs, memory and file descriptors: how much this process may use, and if that suffices."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

import psutil

from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.short_texts import memory_text
from gigaexec.config import WorkerConfig, allowed_cpu_count

_CGROUP_ROOT = Path("/sys/fs/cgroup")
# An interpreter with numpy loaded needs about 35 MiB. The rest is for the program.
_MIN_MEMORY_PER_WORKER_KB = 128 * 1024
# The driver needs about 8 descriptors for each worker that it starts, and about 30 for itself. The constants
# are larger, because other code in the driver needs descriptors too.
_DESCRIPTORS_PER_WORKER = 12
_DESCRIPTORS_OF_DRIVER = 64


def probe_cpus(config: WorkerConfig) -> Finding:
    """Report the CPUs that this process may use, and the number of workers."""
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
        f"{fact}, but the control group allows the CPU time of only {quota:g} CPUs",
        f"Calls slow each other down and may time out. Set GIGAEVO_EXECUTOR_MAX_WORKERS={fits}.",
        data,
    )


def probe_memory(config: WorkerConfig) -> Finding:
    """Report the free memory of the machine, or of the control group if the group has less."""
    free_kb = psutil.virtual_memory().available // 1024
    limit = _cgroup_number("memory.max")
    used = _cgroup_number("memory.current")
    if limit is not None and used is not None:
        free_kb = min(free_kb, max(0, limit - used) // 1024)
    data = {"free_kb": free_kb, "cgroup_limit_bytes": limit}
    fact = f"{memory_text(free_kb)} free" + ("" if limit is None else f", limit {memory_text(limit // 1024)}")
    if free_kb >= _MIN_MEMORY_PER_WORKER_KB * config.worker_count:
        return Finding("memory", State.OK, fact, data=data)
    advice = f"This is little for {config.worker_count} workers. Lower GIGAEVO_EXECUTOR_MAX_WORKERS."
    return Finding("memory", State.WARNING, fact, advice, data)


def probe_descriptors(config: WorkerConfig) -> Finding:
    """Report the limit on the number of open files of this process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS_OF_DRIVER + _DESCRIPTORS_PER_WORKER * config.worker_count
    data = {"limit": None if limit == resource.RLIM_INFINITY else limit, "needed": needed}
    if limit == resource.RLIM_INFINITY or limit >= needed:
        fact = "no limit" if limit == resource.RLIM_INFINITY else f"limit {limit}"
        return Finding("open files", State.OK, fact, data=data)
    fact = f"limit {limit}; {config.worker_count} workers may need {needed}"
    return Finding("open files", State.WARNING, fact, f"Run: ulimit -n {needed}", data)


def _cgroup_cpus() -> float | None:
    quota, _, period = _cgroup_text("cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cgroup_number(name: str) -> int | None:
    text = _cgroup_text(name)
    return int(text) if text.isdigit() else None


def _cgroup_text(name: str) -> str:
    """Return the text of a file of this process's control group (version 2); "" if it cannot be read."""
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
        group = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
        return (_CGROUP_ROOT / group / name).read_text("ascii").strip()
    except (OSError, StopIteration, UnicodeDecodeError):
        return ""
