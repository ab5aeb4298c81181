"""What to do when workers do not start: when to try again, and when to tell a waiting call."""

from __future__ import annotations

import errno
import time

# A start that fails by chance, three times in a row, harms no call.
_FAILURES_ALLOWED = 3

# The pause after each failure but the first. So a pool whose workers cannot start neither spins nor takes
# long to say so.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5

# What the machine refuses now it may grant soon: others let go of processes and memory.
_SHORTAGES = frozenset(
    {
        *(errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOSPC),
        *(errno.ETOOMANYREFS, errno.EDQUOT),
    }
)
_SHORTAGE_PATIENCE_S = 10.0


def shortage_behind(error: BaseException | None) -> OSError | None:
    """The error that says that the machine is out of something: this one, or what it came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return error
        # loky's clean-up after EMFILE raises something else, in its place.
        error = error.__cause__ or error.__context__
    return None


class StartFailures:
    """Counts the starts that failed in a row. Used on the dispatcher's thread only.

    Args:
        start_timeout_s: How long a start may take.
    """

    def __init__(self, start_timeout_s: float) -> None:
        self._patience_s = min(start_timeout_s, _SHORTAGE_PATIENCE_S)
        self._in_a_row = 0
        self._not_of_shortage = 0
        self._alone_since = 0.0
        self._last_origin: object = None
        self.next_try_at = 0.0
        """When a worker may be started again, on the monotonic clock."""

    def end(self) -> None:
        """A worker has started."""
        self._in_a_row = 0
        self._not_of_shortage = 0
        self._last_origin = None
        self.next_try_at = 0.0

    def add(
        self,
        *,
        goes_on: bool = False,
        others_start: bool = False,
        origin: object = None,
        is_shortage: bool = False,
        is_hung: bool = False,
    ) -> bool:
        """A start has failed.

        Args:
            goes_on: Other workers serve the queue.
            others_start: Other workers are starting, which what is short now may have been granted to.
            origin: What it failed with: all that fail with it count as one failure.
            is_shortage: The machine is out of something.
            is_hung: It took longer than it may.

        Returns:
            Whether a waiting call is to be told.
        """
        if origin is not None and origin is self._last_origin:
            return False
        self._last_origin = origin
        now = time.monotonic()
        self._in_a_row += 1
        self._not_of_shortage += not is_shortage
        if self._in_a_row == 1 or goes_on:
            self._alone_since = now
        if self._in_a_row > 1:
            doublings = min(self._in_a_row - 2, 10)
            self.next_try_at = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**doublings)
        if goes_on or (is_shortage and others_start):
            return False
        if is_shortage:
            return now - self._alone_since >= self._patience_s
        return is_hung or self._not_of_shortage >= _FAILURES_ALLOWED
