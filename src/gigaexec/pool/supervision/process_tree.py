"""Kills a process with everything it started.

On Linux, a worker is a subreaper: while the worker lives, all its descendants stay in its process tree, even
double-forked daemons. When the worker dies, the system's init adopts its orphans. They are then found by the
worker id in their environment.

A process with gigabytes of memory takes seconds to die. So the functions are generators that do their work in
short parts, and that yield the pause before the next part, in seconds. See `kills`.

The guard process imports this file without the package, so this file may import only the standard library.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Collection, Generator, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

Killing = Generator[float, None, bool]
"""Yields the pause before the next part of the work, in seconds. Returns True if all processes are dead."""

_PROC = Path("/proc")
_CAN_LIST_CHILDREN = Path("/proc/self/task")

# Longest time to wait for the death of killed processes. The kernel frees 3 GB of memory in half a second, on
# a busy machine in some seconds. A process that lives longer waits for a disk, or forks faster than it is
# found.
_LONGEST_S = 30.0

# Pauses between two checks of killed processes. Most processes die within a millisecond.
_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05

_MARKER = b"GIGAEVO_WORKER_ID="


def kill_tree(root: int, root_pidfd: int | None) -> Killing:
    """Kill a child process of this process, and all descendants of the child.

    When the generator returns, all descendants that were found are dead, and the child has got SIGKILL. If
    the generator is closed earlier, the child stays stopped, and must be killed in another way.

    Args:
        root: Process id of the child.
        root_pidfd: Pidfd of the child. Unlike a process id, it never refers to a later process. None if the
            system has no pidfds; the child must then not be reaped before the generator returns.

    Returns:
        True if all descendants are dead. If False, `kill_orphans` must search for the others.
    """
    # The child is stopped first. It then no longer forks, but still adopts the orphans of its descendants,
    # and reaps none of them, so that no process id is reused.
    if not send_to_child(root, root_pidfd, signal.SIGSTOP):
        return False
    try:
        are_dead = yield from _kill_descendants(root)
    except Exception as error:  # noqa: BLE001 - any error, mostly no free descriptor: the child must still die
        logger.warning("the descendants of process %d cannot be listed: %s", root, error)
        are_dead = False
    send_to_child(root, root_pidfd, signal.SIGKILL)
    return are_dead


def _kill_descendants(root: int) -> Killing:
    give_up_at = time.monotonic() + _LONGEST_S
    pauses = _pauses()
    while True:
        descendants = yield from _stop_all_descendants(root, give_up_at)
        for pid in descendants:
            _send(pid, signal.SIGKILL)
        if time.monotonic() >= give_up_at:
            logger.error(
                "process %d has descendants that live %g s after SIGKILL, or that fork faster than they are "
                "found: %s",
                root,
                _LONGEST_S,
                descendants,
            )
            return False
        if not descendants:
            return True
        yield next(pauses)


def kill_orphans(worker_ids: Collection[str], sessions: Collection[int] = ()) -> Killing:
    """Kill the processes that dead workers left running. When the generator returns, they are dead.

    A process that has its own session, and no worker id in its environment, is not found.

    Args:
        worker_ids: Ids of the dead workers. Every process with one of these ids in its environment is killed.
        sessions: Ids of sessions whose processes are killed, too. A worker leads a session whose id is the
            worker's pid. The kernel does not reuse this number while the session has a process.

    Returns:
        True if no process that was found is alive.

    Raises:
        OSError: This process is out of descriptors or memory, so no search was possible.
    """
    wanted = {_MARKER + worker_id.encode() for worker_id in worker_ids}
    killed: set[int] = set()
    give_up_at = time.monotonic() + _LONGEST_S
    pauses = _pauses()
    while True:
        orphans = yield from _find_orphans(wanted, sessions)
        for pid in orphans:
            _send(pid, signal.SIGKILL)
        killed.update(orphans)
        # A killed process loses its environment shortly before it is dead. The search then misses it, so all
        # processes killed so far are checked, too.
        alive = [pid for pid in killed if _is_alive(pid)]
        if not orphans and not alive:
            return True
        if time.monotonic() >= give_up_at:
            logger.error("processes of dead workers live %g s after SIGKILL: %s", _LONGEST_S, alive)
            return False
        yield next(pauses)


def _find_orphans(wanted: set[bytes], sessions: Collection[int]) -> Generator[float, None, list[int]]:
    orphans = []
    for pid in _all_pids():
        if _is_in(pid, sessions) or _carries(pid, wanted):
            orphans.append(pid)
        yield 0.0
    return orphans


def run_to_end(killing: Killing) -> bool:
    """Do all parts of a kill, with their pauses. Returns the result of the kill."""
    while True:
        try:
            pause_s = next(killing)
        except StopIteration as end:
            return bool(end.value)
        if pause_s:
            time.sleep(pause_s)


def _pauses() -> Iterator[float]:
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _stop_all_descendants(root: int, give_up_at: float) -> Generator[float, None, list[int]]:
    """Stop all descendants of `root` with SIGSTOP. Returns the descendants that are still alive at the end.

    The loop ends when two listings in a row show no new process, or at `give_up_at`. "No process is alive"
    would be a wrong criterion: a process may fork another one and end before it is checked. An ended process
    stays in the listings, because its stopped parent does not reap it. One listing without a new process is
    not enough: during the listing, a child may move from its parent's list to the list of `root`.
    """
    seen: set[int] = set()
    listings_without_new = 0
    while listings_without_new < 2 and time.monotonic() < give_up_at:
        has_new = yield from _stop_new_descendants(root, seen)
        listings_without_new = 0 if has_new else listings_without_new + 1
    return [pid for pid in seen if _is_alive(pid)]


def _stop_new_descendants(root: int, seen: set[int]) -> Generator[float, None, bool]:
    """List the descendants of `root` once, stop those that are not in `seen`, and add them to it.

    Each process is stopped as soon as it is listed: in a chain of forks, a process lives about as long as
    one list of children takes to read.

    Returns:
        True if there was a new process.
    """
    count = len(seen)
    unvisited = [root]
    while unvisited:
        children = _children_of(unvisited.pop())
        # Youngest first: in a chain of forks, only the youngest process may still be alive.
        for pid in sorted(set(children) - seen, reverse=True):
            _send(pid, signal.SIGSTOP)
        seen.update(children)
        if _CAN_LIST_CHILDREN.exists():
            unvisited.extend(children)
        yield 0.0
    return len(seen) > count


def _children_of(pid: int) -> list[int]:
    """Return the children of a process, or all descendants where the system lists no children."""
    return _children(pid) if _CAN_LIST_CHILDREN.exists() else _descendants_by_psutil(pid)


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
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, thread_count = fields[0], int(fields[17])  # fields 3 and 20, see proc(5)
    # If only the first thread has ended, the state is Z, too.
    return state not in (b"Z", b"X") or thread_count > 1


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


def send_to_child(child: int, pidfd: int | None, number: signal.Signals) -> bool:
    """Send a signal to a child process. Returns False if the child is dead and reaped."""
    if pidfd is None:
        _send(child, number)
        return True
    try:
        signal.pidfd_send_signal(pidfd, number)
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
