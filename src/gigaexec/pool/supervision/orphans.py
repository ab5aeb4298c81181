"""Ending what dead workers left running, also when the driver dies."""

from __future__ import annotations

import logging
import sys
import time

from gigaexec.pool.supervision import process_tree
from gigaexec.pool.supervision.guard import Guard

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0


class Orphans:
    """What the workers of one pool may leave behind. Used on the dispatcher's thread only.

    Args:
        has_guard: Whether to start a process that ends them when this one is killed.
    """

    def __init__(self, *, has_guard: bool) -> None:
        self._has_guard = has_guard and sys.platform == "linux"
        self._guard: Guard | None = None
        self._unswept: dict[str, int] = {}
        self.next_look_at = float("inf")
        """When to call `look_again`, on the monotonic clock."""

    def expect_from(self, worker_id: str) -> None:
        """Prepare for a worker that is about to start. Raises OSError where the guard cannot be started."""
        if self._guard is None and self._has_guard:
            self._guard = Guard()
        if self._guard is not None:
            self._guard.watch(worker_id)

    def end_those_of(self, worker_id: str, worker_pid: int, *, is_tree_dead: bool) -> None:
        """Kill what a dead worker left, unless it was killed with its whole tree."""
        try:
            if not is_tree_dead:
                process_tree.kill_orphans({worker_id}, {worker_pid})
        except OSError as error:
            logger.warning("orphans of worker %s cannot be looked for yet: %s", worker_id, error)
            self._unswept[worker_id] = worker_pid
            self.next_look_at = time.monotonic() + _LOOK_AGAIN_S
            return
        self._unswept.pop(worker_id, None)
        self.forget(worker_id)

    def forget(self, worker_id: str) -> None:
        """That worker did not come to be, or was killed with all its processes."""
        if self._guard is not None:
            self._guard.unwatch(worker_id)

    def look_again(self) -> None:
        """Do what could not be done when this process was out of descriptors."""
        self.next_look_at = float("inf")
        for worker_id, worker_pid in tuple(self._unswept.items()):
            self.end_those_of(worker_id, worker_pid, is_tree_dead=False)

    def close(self) -> None:
        """End the guard, which kills what is left."""
        if self._guard is not None:
            self._guard.close()

    def close_after_fork(self) -> None:
        """In a forked child: the guard is the parent's."""
        if self._guard is not None:
            self._guard.close_after_fork()
