"""Turns a fresh interpreter into a reused worker.

The order matters. First, this process is set up to die with the driver, so that no later failure leaves an
orphan. Second, the environment is replaced, before any library can read a secret from it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

from gigaexec.worker.bootstrap import prepare_interpreter, raise_oom_score
from gigaexec.worker.child_processes import adopt_orphans
from gigaexec.worker.death import die_with_driver
from gigaexec.worker.reused.scope import RestoredStreams


class WorkerSettings(NamedTuple):
    """The settings of one reused worker.

    Args:
        worker_id: Id of the worker: 12 hex digits, new for every process.
        node_id: Name of the driver's machine.
        driver_pid: Process id of the driver.
        environment: The environment variables of the process. All others are removed.
        enable_pdeathsig: True to have the kernel kill the worker as soon as the driver thread that started
            the worker ends (`PR_SET_PDEATHSIG`, Linux only).
        max_rss_kb: Limit on resident memory, in KiB. If the worker exceeds this limit when a call has ended,
            the worker retires. None: no limit.
        preload: Modules to import before the first call.
        lifeline: Descriptor of the read end of a pipe. Only the driver has the write end, and the driver
            writes nothing. End of file means that the driver has ended.
        stdout: Descriptor of the pipe for the calls' standard output.
        stderr: Descriptor of the pipe for the calls' standard error.
    """

    worker_id: str
    node_id: str
    driver_pid: int
    environment: dict[str, str]
    enable_pdeathsig: bool
    max_rss_kb: int | None
    preload: tuple[str, ...]
    lifeline: int
    stdout: int
    stderr: int


def become_worker(settings: WorkerSettings) -> tuple[RestoredStreams, list[str]]:
    """Prepare this process for calls. Call this function once, on the main thread, before other threads run.

    Returns:
        The standard streams, and warnings for the driver's log.
    """
    warnings = die_with_driver(settings.lifeline, settings.driver_pid, settings.enable_pdeathsig)
    warnings += replace_environment(_worker_environment(settings))
    streams = RestoredStreams(settings.stdout, settings.stderr)
    warnings += adopt_orphans()
    raise_oom_score()
    sys.argv = [""]  # loky sets the driver's arguments here, which may contain secrets
    prepare_interpreter()
    return streams, warnings


def replace_environment(environment: dict[str, str]) -> list[str]:
    """Replace the environment, as seen by os.environ, C's getenv, child processes and /proc/self/environ.

    Returns:
        Warnings for the log.
    """
    for name in list(os.environ):
        if name not in environment:
            del os.environ[name]
    # Also set variables that do not change: setenv(3) copies them to the heap, and the original block is
    # overwritten next.
    os.environ.update(environment)
    if sys.platform != "linux":
        return []
    try:
        start, end = _environment_block()
        # Write the new environment instead of only zeroing the block: the driver finds the orphans of a
        # crashed worker by the worker id in their block. Children that fork without exec have a copy of this
        # block.
        shown = "".join(f"{name}={value}\0" for name, value in _worker_id_first(environment))
        block = os.fsencode(shown)[: end - start - 1]
        ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)
    except (OSError, ValueError, IndexError) as error:
        return [f"/proc/self/environ still shows the worker's initial environment: {error}"]
    return []


def _worker_id_first(environment: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(environment.items(), key=lambda item: item[0] != "GIGAEVO_WORKER_ID")


def _environment_block() -> tuple[int, int]:
    """Return the first address of the environment block and the address after its last byte."""
    # env_start and env_end are the fields 50 and 51 of /proc/self/stat (proc(5)). The second field, the name
    # of the executable, may contain spaces. The second field ends at the last ')'.
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    if not 0 < start <= end:
        raise ValueError(f"expected 0 < env_start <= env_end in /proc/self/stat, got {start} and {end}")
    return start, end


def _worker_environment(settings: WorkerSettings) -> dict[str, str]:
    return {
        **settings.environment,
        "GIGAEVO_WORKER_ID": settings.worker_id,
        "GIGAEVO_NODE_ID": settings.node_id,
    }
