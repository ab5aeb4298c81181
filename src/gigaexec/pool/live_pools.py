"""Every pool of this process whose threads run, also pools that nobody refers to any more."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class StoppablePool(Protocol):
    """A dispatcher, as this module uses it."""

    def stop(self) -> None: ...

    def join(self, timeout_s: float | None = None) -> bool: ...

    def close_after_fork(self) -> None: ...


_live: weakref.WeakSet[StoppablePool] = weakref.WeakSet()
_ending: weakref.WeakSet[StoppablePool] = weakref.WeakSet()


def add(pool: StoppablePool) -> None:
    """Add a pool whose threads run."""
    _live.add(pool)


def begin_end(pool: StoppablePool) -> None:
    """Remove a pool that is about to close its descriptors: a forked child must not close reused ones."""
    _ending.add(pool)
    _live.discard(pool)


def stop_all(timeout_s: float) -> None:
    """Stop every pool of this process, also pools whose backend is forgotten, and wait for their ends.

    Args:
        timeout_s: Seconds to wait for each pool at most.
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
