"""The descriptors of one worker that the dispatcher's selector watches."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import NamedTuple

OnEvent = Callable[[int, int], None]
"""A callback for events of a descriptor. Called with descriptor and events, on the dispatcher's thread."""


class Watched(NamedTuple):
    """The `data` of each key of the dispatcher's selector."""

    worker: object
    """The handle of the worker that the descriptor belongs to; None for a descriptor of the pool."""
    callback: OnEvent


class Watches:
    """Registers and unregisters descriptors of one worker with a selector. Removing twice is safe.

    Args:
        selector: The dispatcher's selector.
        worker: The worker's handle.
    """

    def __init__(self, selector: selectors.BaseSelector, worker: object) -> None:
        self._selector = selector
        self._worker = worker
        self._numbers: set[int] = set()

    def add(self, number: int, callback: OnEvent) -> None:
        """Watch a descriptor for readability. Raises OSError (ENOSPC) if the user has no epoll watch left."""
        self._selector.register(number, selectors.EVENT_READ, Watched(self._worker, callback))
        self._numbers.add(number)

    def watch_writability(self, number: int, callback: OnEvent, *, is_wanted: bool) -> None:
        """Start or stop watching a descriptor for writability. Does nothing if the descriptor was removed."""
        if number not in self._numbers:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_wanted else 0)
        self._selector.modify(number, events, Watched(self._worker, callback))

    def remove(self, number: int) -> None:
        """Stop watching a descriptor. Does nothing if it was removed before, for example at end of file."""
        if number in self._numbers:
            self._numbers.discard(number)
            self._selector.unregister(number)

    def remove_all(self) -> None:
        """Stop watching all descriptors of the worker."""
        for number in tuple(self._numbers):
            self.remove(number)
