"""Kills a process with everything it started.

On Linux, a worker is a subreaper: while the worker lives, all its descendants stay in its process tree, even
double-forked daemons. When the worker dies, the system's init adopts its orphans. They are then found by the
worker id in their environment.

The guard process imports this file without the package, so this file may import only the standard library.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection
from pathlib import Path

logger = logging.getLogger(__name__)

_PROC = Path("/proc")
_CAN_LIST_CHILDREN = Path("/proc/self/task")

# A program that forks endlessly may fork faster than its processes are found. Each round stops the processes
# that the previous round missed. A second round is rare. After the last round, an error is logged instead of
# looping forever.
_MAX_ROUNDS = 200

_MARKER = b"GIGAEVO_WORKER_ID="


def kill_tree(root: int, root_pidfd: int | None) -> bool:
    """Kill a child process of this process, and all descendants of the child.

    On return, SIGKILL was sent to all descendants that were found, and last to the child.

    Args:
        root: Process id of the child.
        root_pidfd: Pidfd of the child. Unlike a process id, it never refers to a later process. None if the
            system has no pidfds; the child must then not have been reaped yet.

    Returns:
        True if all descendants were found and killed. If False, `kill_orphans` must search for the others.
    """
    # The child is stopped first. It then no longer forks, but still adopts the orphans of its descendants.
    if not _send_to_root(root, root_pidfd, signal.SIGSTOP):
        return False
    try:
        return _kill_descendants(root)
    except OSError as error:  # this process is out of descriptors or memory
        logger.warning("the descendants of process %d cannot be listed: %s", root, error)
        return False
    finally:
        _send_to_root(root, root_pidfd, signal.SIGKILL)


def _kill_descendants(root: int) -> bool:
    for _ in range(_MAX_ROUNDS):
        descendants = _stop_all_descendants(root)
        if not descendants:
            return True
        for pid in descendants:
            _send(pid, signal.SIGKILL)
    logger.error("process %d still has descendants after %d rounds of killing", root, _MAX_ROUNDS)
    return False


def kill_orphans(worker_ids: Collection[str], sessions: Collection[int] = ()) -> int:
    """Kill the processes that dead workers left running. On return, these processes are dead.

    A process that has its own session, and no worker id in its environment, is not found.

    Args:
        worker_ids: Ids of the dead workers. Every process with one of these ids in its environment is killed.
        sessions: Ids of sessions whose processes are killed, too. A worker leads a session whose id is the
            worker's pid. The kernel does not reuse this number while the session has a process.

    Returns:
        Number of processes that were found.

    Raises:
        OSError: This process is out of descriptors or memory, so no search was possible.
    """
    wanted = {_MARKER + worker_id.encode() for worker_id in worker_ids}
    killed: set[int] = set()
    for _ in range(_MAX_ROUNDS):
        orphans = [pid for pid in _all_pids() if _is_in(pid, sessions) or _carries(pid, wanted)]
        # A killed process loses its environment shortly before it is dead. The search then misses it, so all
        # processes killed so far are checked, too.
        if not orphans and not any(map(_is_alive, killed)):
            return len(killed)
        for pid in orphans:
            _send(pid, signal.SIGKILL)
        killed.update(orphans)
    logger.error("orphans of dead workers are still alive after %d rounds of killing", _MAX_ROUNDS)
    return len(killed)


def _stop_all_descendants(root: int) -> list[int]:
    """Stop all descendants of `root` with SIGSTOP. Returns the descendants that are still alive at the end.

    The loop ends when two listings in a row show no new process. "No process is alive" would be a wrong
    criterion: a process may fork another one and end before it is checked. An ended process stays in the
    listings, because its stopped parent does not reap it. One listing without a new process is not enough:
    during the listing, a child may move from its parent's list to the list of `root`.
    """
    seen: set[int] = set()
    listings_without_new = 0
    while listings_without_new < 2:
        new = [pid for pid in _descendants(root) if pid not in seen]
        listings_without_new = 0 if new else listings_without_new + 1
        # Youngest first: in a chain of forks, only the youngest process may still be alive.
        for pid in sorted(new, reverse=True):
            _send(pid, signal.SIGSTOP)
        seen.update(new)
    return [pid for pid in seen if _is_alive(pid)]


def _descendants(root: int) -> list[int]:
    if not _CAN_LIST_CHILDREN.exists():
        return _descendants_by_psutil(root)
    found: list[int] = []
    unvisited = [root]
    while unvisited:
        children = _children(unvisited.pop())
        unvisited.extend(children)
        found.extend(children)
    return found


def _descendants_by_psutil(root: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(root).children(recursive=True)]
    except psutil.Error:
        return []  # the process ended meanwhile


def children_of_thread(pid: int, thread: str) -> list[int]:
    """Return the pids of the children that a thread started or adopted; [] if the thread has ended.

    Raises:
        OSError: This process is out of descriptors or memory.
    """
    # Functions of os are faster than pathlib: sampling calls this function 50 times a second per watched
    # worker.
    try:
        descriptor = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        text = b""
        while part := os.read(descriptor, 1 << 16):  # each read returns at most one page
            text += part
    except ProcessLookupError:
        return []
    finally:
        os.close(descriptor)
    return list(map(int, text.split()))


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []  # the process has ended
    return [child for thread in threads for child in children_of_thread(pid, thread)]


def _is_alive(pid: int) -> bool:
    try:
        state = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split(None, 1)[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def _all_pids() -> list[int]:
    try:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except FileNotFoundError:
        return []  # without /proc, processes cannot be listed


def _is_in(pid: int, sessions: Collection[int]) -> bool:
    if not sessions:
        return False
    try:
        return os.getsid(pid) in sessions and _is_alive(pid)
    except (ProcessLookupError, PermissionError):
        return False


def _carries(pid: int, markers: set[bytes]) -> bool:
    if pid == os.getpid():
        return False
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # the process ended, or belongs to another user
    return not markers.isdisjoint(environment.split(b"\0"))


def _send_to_root(root: int, root_pidfd: int | None, number: signal.Signals) -> bool:
    if root_pidfd is None:
        _send(root, number)
        return True
    try:
        signal.pidfd_send_signal(root_pidfd, number)
    except ProcessLookupError:
        return False  # the process is dead and reaped
    return True


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        logger.warning("cannot send %s to process %d: %s", number.name, pid, error)
