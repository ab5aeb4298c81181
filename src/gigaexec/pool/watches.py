"""The descriptors of one worker that the dispatcher's selector watches."""

from __future__ import annotations

import selectors
from collections.abc import Callable

OnEvent = Callable[[int, int], None]
"""Called with the descriptor and the events, on the dispatcher's thread."""


class Watches:
    """Registers descriptors of one worker with a selector, and removes each once.

    Args:
        selector: The dispatcher's selector. The data of each key is the callback.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._numbers: set[int] = set()

    def add(self, number: int, callback: OnEvent) -> None:
        """Watch for readability. Raises OSError (ENOSPC) when the user's epoll watches are used up."""
        self._selector.register(number, selectors.EVENT_READ, callback)
        self._numbers.add(number)

    def watch_writability(self, number: int, callback: OnEvent, *, is_wanted: bool) -> None:
        """Watch a descriptor for writability as well, or no longer. Does nothing if it was removed before."""
        if number not in self._numbers:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_wanted else 0)
        self._selector.modify(number, events, callback)

    def remove(self, number: int) -> None:
        """Stop watching. Does nothing if the descriptor was removed before, at its end of file."""
        if number in self._numbers:
            self._numbers.discard(number)
            self._selector.unregister(number)

    def remove_all(self) -> None:
        """Stop watching everything."""
        for number in tuple(self._numbers):
            self.remove(number)
