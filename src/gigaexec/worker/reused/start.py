"""Turns a fresh interpreter, which loky started, into a reused worker.

The order matters. Death with the driver comes first, so that no later failure leaves an orphan; then the
environment, before any library can read a secret from it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import NamedTuple

from gigaexec.worker.bootstrap import prepare_interpreter, raise_oom_score
from gigaexec.worker.child_processes import adopt_orphans
from gigaexec.worker.death import die_with_driver
from gigaexec.worker.reused.scope import RestoredStreams


class WorkerSettings(NamedTuple):
    """The settings of one reused worker.

    Args:
        worker_id: 12 hex digits, new for this process.
        node_id: Name of the driver's machine.
        driver_pid: Process id of the driver.
        environment: All variables that the process may have.
        enable_pdeathsig: Use PR_SET_PDEATHSIG.
        max_rss_kb: Retire after a call that leaves more resident memory than this, KiB; None for never.
        preload: Modules to import before the first call.
        channel: Descriptor of the socket to the driver.
        lifeline: Descriptor of a pipe whose other end only the driver holds.
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
    channel: int
    lifeline: int
    stdout: int
    stderr: int


def become_worker(settings: WorkerSettings) -> tuple[socket.socket, RestoredStreams, list[str]]:
    """Prepare this process. Call it once, on the main thread, before any other thread runs.

    Returns:
        The connected channel, the standard streams, and warnings for the driver's log.
    """
    warnings = die_with_driver(settings.lifeline, settings.driver_pid, settings.enable_pdeathsig)
    warnings += replace_environment(_worker_environment(settings))
    os.setsid()  # Ctrl-C in the terminal must reach the driver only, which then decides
    streams = RestoredStreams(settings.stdout, settings.stderr)
    warnings += adopt_orphans()
    raise_oom_score()
    prepare_interpreter()
    os.set_inheritable(settings.channel, False)
    return socket.socket(fileno=settings.channel), streams, warnings


def replace_environment(environment: dict[str, str]) -> list[str]:
    """Replace the environment that os.environ, C's getenv, child processes and /proc/self/environ show.

    Returns:
        Warnings for the log.
    """
    for name in list(os.environ):
        if name not in environment:
            del os.environ[name]
    # Also set variables that do not change: setenv(3) copies them to the heap. The original block is wiped
    # next.
    os.environ.update(environment)
    if sys.platform != "linux":
        return []
    try:
        start, end = _environment_block()
        # Not only zeros: the worker id must be readable here, also in children that fork and never exec. The
        # driver finds the orphans of a crashed worker by this id.
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
    # env_start and env_end: fields 50 and 51 of /proc/self/stat (proc(5)). The second field, the program's
    # name, may hold spaces; it ends at the last ')'.
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    if not 0 < start <= end:
        raise ValueError(f"/proc/self/stat has no address of the environment block ({start}, {end})")
    return start, end


def _worker_environment(settings: WorkerSettings) -> dict[str, str]:
    return {
        **settings.environment,
        "GIGAEVO_WORKER_ID": settings.worker_id,
        "GIGAEVO_NODE_ID": settings.node_id,
    }
