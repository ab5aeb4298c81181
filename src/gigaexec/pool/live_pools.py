"""All pools of this process whose threads run, including pools whose backend no longer exists."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class StoppablePool(Protocol):
    """The methods of a dispatcher that this module uses."""

    def stop(self) -> None: ...

    def join(self, timeout_s: float | None = None) -> bool: ...

    def close_after_fork(self) -> None: ...


_live: weakref.WeakSet[StoppablePool] = weakref.WeakSet()
_ending: weakref.WeakSet[StoppablePool] = weakref.WeakSet()


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


def _close_all_after_fork() -> None:
    for pool in tuple(_live):
        pool.close_after_fork()
    _live.clear()
    _ending.clear()


os.register_at_fork(after_in_child=_close_all_after_fork)
