"""Kills and reaps the processes that a call left running.

On Linux, the process that uses this module is a subreaper: orphans of the program become children of this
process. So the list of its children includes daemons.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gigaexec.worker.death import prctl

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# Longest time for a resource tracker to remove what its program left. It ends within about 20 ms.
_TRACKER_LIMIT_S = 1.0


def adopt_orphans() -> list[str]:
    """Make this process a subreaper, which adopts orphaned descendants. Returns warnings for the log."""
    if sys.platform != "linux":
        return []
    return prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def end_child_processes() -> int:
    """Kill and reap every descendant of this process.

    If a program forks faster than this function kills, the function does not return before the call's
    deadline, when the driver kills the worker.

    The resource tracker of multiprocessing is not killed. It ends by itself, after it has removed the
    semaphores and the shared memory that the program left.

    Returns:
        The number of processes that were still running and had to be killed.
    """
    killed = 0
    tracker = _tracker_of_program()
    tracker_pid = tracker._pid if tracker is not None else None
    while _has_children():
        _reap_ended_children()
        running = [pid for pid in _children() if pid != tracker_pid]
        if not running:
            break  # all children are reaped, or this kernel cannot list children
        for pid in running:
            killed += _end_child(pid)
    if tracker is not None:
        killed += not _end_tracker(tracker)
    return killed


def end_children_except(kept: Collection[int]) -> None:
    """Kill and reap the children of this process that are not in `kept`, and the orphans that they leave."""
    while others := [pid for pid in _children() if pid not in kept]:
        for pid in others:
            _end_child(pid)


def _tracker_of_program() -> Any:
    """Return the `ResourceTracker` of multiprocessing if its process was started by this process, or None."""
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    tracker = module._resource_tracker if module is not None else None
    return tracker if tracker is not None and tracker._pid is not None else None


def _end_tracker(tracker: Any) -> bool:
    """End a resource tracker, and wait for its end. Returns False if the tracker had to be killed."""
    gc.collect()  # semaphores that are garbage report to the tracker that they are removed
    # The tracker ends at end of file, because no other process is left that holds the pipe.
    os.close(tracker._fd)
    pid, tracker._fd, tracker._pid = tracker._pid, None, None
    limit = time.monotonic() + _TRACKER_LIMIT_S
    try:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() >= limit:
                return not _end_child(pid)
            time.sleep(0.001)
    except ChildProcessError:
        pass  # the tracker was dead, and was reaped
    return True


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
