"""Kills and reaps the processes that a call left running.

On Linux, the process that uses this module is a subreaper: orphans of the program become children of this
process. So the list of its children includes daemons.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from gigaexec.worker.death import prctl

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> list[str]:
    """Make this process a subreaper, which adopts orphaned descendants. Returns warnings for the log."""
    if sys.platform != "linux":
        return []
    return prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def end_child_processes() -> int:
    """Kill and reap every descendant of this process.

    If a program forks faster than this function kills, the function does not return before the call's
    deadline, when the driver kills the worker.

    Returns:
        The number of processes that were still running and had to be killed.
    """
    killed = 0
    while _has_children():
        _reap_ended_children()
        running = _children()
        if not running:
            break  # all children are reaped, or this kernel cannot list children
        for pid in running:
            killed += _end_child(pid)
    return killed


def end_children_except(kept: Collection[int]) -> None:
    """Kill and reap the children of this process that are not in `kept`, and the orphans that they leave."""
    while others := [pid for pid in _children() if pid not in kept]:
        for pid in others:
            _end_child(pid)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap_ended_children() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # no child is left


def _end_child(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return False  # a thread of the program has reaped the process
    return True


def _children() -> list[int]:
    tasks = Path("/proc/self/task")
    pids: list[int] = []
    for thread in tasks.iterdir() if tasks.is_dir() else ():
        try:
            pids.extend(map(int, (thread / "children").read_text(encoding="ascii").split()))
        except FileNotFoundError:
            continue  # the thread ended while its file was opened
    return pids
