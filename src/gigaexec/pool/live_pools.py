"""All pools of this process whose threads run, including pools whose backend no longer exists.

A fork waits until the dispatchers of all pools are between two steps. So a forked child finds every pool in a
consistent state: no worker is half started, no descriptor is closed twice, and no dispatcher holds an import
lock, which the child could never acquire.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

# Longest wait for one dispatcher before a fork. A dispatcher is busy for about 5 ms at a time; longer if a
# template hangs. After a longer wait, the child may keep a few descriptors of workers open.
_LONGEST_WAIT_FOR_FORK_S = 1.0


class StoppablePool(Protocol):
    """The methods of a dispatcher that this module uses."""

    def stop(self) -> None: ...

    def join(self, timeout_s: float | None = None) -> bool: ...

    def hold_before_fork(self, timeout_s: float) -> bool: ...

    def release_after_fork(self) -> None: ...

    def close_after_fork(self) -> None: ...


# No weak references: the thread of a live pool refers to the pool anyway, and a plain set can be copied while
# another thread adds a pool.
_live: set[StoppablePool] = set()
_ending: weakref.WeakSet[StoppablePool] = weakref.WeakSet()
_of_this_thread = threading.local()


def add(pool: StoppablePool) -> None:
    """Register a pool whose threads have been started."""
    _live.add(pool)


def begin_end(pool: StoppablePool) -> None:
    """Mark a pool as ending before it closes its descriptors.

    A child that is forked later must not close the same descriptor numbers, which may be reused by then.
    """
    _ending.add(pool)
    _live.discard(pool)


def stop_all(timeout_s: float) -> None:
    """Stop all pools of this process, including pools whose backend no longer exists, and wait for them.

    Args:
        timeout_s: Longest time to wait for each pool, in seconds.
    """
    pools = {*_live, *_ending}
    for pool in pools:
        pool.stop()
    for pool in pools:
        pool.join(timeout_s)


def _hold_all_before_fork() -> None:
    # Sorted, so that two threads that fork at the same time do not each hold a pool the other waits for.
    _of_this_thread.held = [
        pool for pool in sorted(_live.copy(), key=id) if pool.hold_before_fork(_LONGEST_WAIT_FOR_FORK_S)
    ]


def _release_all_after_fork() -> None:
    for pool in _of_this_thread.held:
        pool.release_after_fork()
    del _of_this_thread.held


def _close_all_after_fork() -> None:
    for pool in _live:
        pool.close_after_fork()
    _live.clear()
    _ending.clear()
    del _of_this_thread.held


os.register_at_fork(
    before=_hold_all_before_fork,
    after_in_parent=_release_all_after_fork,
    after_in_child=_close_all_after_fork,
)
