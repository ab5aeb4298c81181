"""Kills the processes that dead workers left running, even if the driver itself is killed."""

from __future__ import annotations

import logging
import sys
import time

from gigaexec.pool.supervision import process_tree
from gigaexec.pool.supervision.guard import Guard
from gigaexec.pool.supervision.process_tree import Killing

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class Orphans:
    """Kills the orphans of one pool's workers. Used on the dispatcher's thread only.

    Args:
        has_guard: True to start a guard process, which kills the orphans if this process is killed. Linux
            only.
    """

    def __init__(self, *, has_guard: bool) -> None:
        self._has_guard = has_guard and sys.platform == "linux"
        self._guard: Guard | None = None
        self._unkilled: dict[str, int] = {}
        self.next_try_at = float("inf")
        """The time at which to call `retry`, on the monotonic clock; infinity if no retry is needed."""

    def expect_from(self, worker_id: str) -> None:
        """Tell the guard that a worker is about to start. Raises OSError if the guard cannot be started."""
        if self._guard is None and self._has_guard:
            self._guard = Guard()
        if self._guard is not None:
            self._guard.watch(worker_id)

    def kill_those_of(self, worker_id: str, worker_pid: int) -> Killing:
        """Kill the processes that a dead worker left running. If the search fails, `retry` repeats it later.

        Args:
            worker_id: The id in the environment of the worker's processes.
            worker_pid: The worker's pid, which is also the id of its session.

        Returns:
            True if these processes are dead.
        """
        try:
            are_dead = yield from process_tree.kill_orphans({worker_id}, {worker_pid})
        except OSError as error:
            logger.warning("the search for orphans of worker %s failed (%s); trying again", worker_id, error)
            self._unkilled[worker_id] = worker_pid
            self.next_try_at = time.monotonic() + _RETRY_S
            return False
        self._unkilled.pop(worker_id, None)
        if are_dead:
            self.forget(worker_id)
        return are_dead

    def forget(self, worker_id: str) -> None:
        """Tell the guard to forget a worker that did not start, or whose processes are all dead."""
        if self._guard is not None:
            self._guard.unwatch(worker_id)

    def retry(self) -> list[Killing]:
        """Return new kills of the orphans that were not found earlier, for lack of descriptors."""
        self.next_try_at = float("inf")
        return [self.kill_those_of(worker_id, pid) for worker_id, pid in self._unkilled.items()]

    def close(self) -> None:
        """End the guard, which kills the orphans that are left."""
        if self._guard is not None:
            self._guard.close()

    def close_after_fork(self) -> None:
        """Close the pipe to the guard in a forked child. The guard belongs to the parent."""
        if self._guard is not None:
            self._guard.close_after_fork()
