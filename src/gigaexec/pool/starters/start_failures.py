"""Rules for failed starts: when to retry, and when to fail a waiting call."""

from __future__ import annotations

import errno
import time

from gigaexec.sandbox.shortages import SHORTAGES

# Up to three failures in a row may be chance, and fail no call.
_FAILURES_ALLOWED = 3

# Pauses after failures, from the second one on. They keep a pool whose workers cannot start from spinning,
# and are short enough to report the failure soon.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5

# Transient: other processes release processes, descriptors, memory and disk space.
_SHORTAGES = SHORTAGES | {errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
_SHORTAGE_PATIENCE_S = 10.0


def shortage_behind(error: BaseException | None) -> OSError | None:
    """Return the error that reports a transient shortage, `error` or a cause of it; None if none does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return error
        # loky's cleanup after EMFILE raises another error, whose context is the shortage.
        error = error.__cause__ or error.__context__
    return None


class StartFailures:
    """Counts the starts that failed in a row. Used on the dispatcher's thread only.

    Args:
        start_timeout_s: Seconds that a start may take.
    """

    def __init__(self, start_timeout_s: float) -> None:
        self._patience_s = min(start_timeout_s, _SHORTAGE_PATIENCE_S)
        self._in_a_row = 0
        self._not_of_shortage = 0
        self._alone_since = 0.0
        self._last_template: object = None
        self.next_try_at = 0.0
        """When a worker may be started again, on the monotonic clock."""

    def end(self) -> None:
        """Forget the failures: a worker has started."""
        self._in_a_row = 0
        self._not_of_shortage = 0
        self._last_template = None
        self.next_try_at = 0.0

    def add(
        self,
        *,
        others_serve: bool = False,
        others_start: bool = False,
        template: object = None,
        is_shortage: bool = False,
        is_hung: bool = False,
    ) -> bool:
        """Count a start that has failed.

        Args:
            others_serve: Other workers serve the queue.
            others_start: Other workers are starting, and may have got the resource that is short.
            template: The template whose failure it was: all failures of one template count as one.
            is_shortage: A transient shortage of the machine was the cause.
            is_hung: The start took longer than it may.

        Returns:
            True if one queued call should now fail with `WorkerStartError`.
        """
        if template is not None and template is self._last_template:
            return False
        self._last_template = template
        now = time.monotonic()
        self._in_a_row += 1
        self._not_of_shortage += not is_shortage
        if self._in_a_row == 1 or others_serve:
            self._alone_since = now
        if self._in_a_row > 1:
            doublings = min(self._in_a_row - 2, 10)
            self.next_try_at = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**doublings)
        if others_serve or (is_shortage and others_start):
            return False
        if is_shortage:
            return now - self._alone_since >= self._patience_s
        return is_hung or self._not_of_shortage >= _FAILURES_ALLOWED
