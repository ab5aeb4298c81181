"""Rules for failed starts: when to retry, and when to fail a waiting call."""

from __future__ import annotations

import errno
import time

from gigaexec.sandbox.shortages import SHORTAGES

# One or two failures in a row may be chance. The third failure in a row fails a call.
_FAILURES_ALLOWED = 3

# Pauses before the next start, after the second and later failures in a row. Without pauses, a pool whose
# workers cannot start would retry in a busy loop. The pauses are short enough to report the failure soon.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5

# Errors of a transient shortage: processes, descriptors, memory or disk space may become free again.
_SHORTAGES = SHORTAGES | {errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT}
_SHORTAGE_PATIENCE_S = 10.0


def shortage_behind(error: BaseException | None) -> OSError | None:
    """Return the first error among `error` and its causes that reports a transient shortage, or None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return error
        error = error.__cause__ or error.__context__
    return None


class StartFailures:
    """Counts the starts that failed in a row. Used on the dispatcher's thread only.

    Args:
        start_timeout_s: Longest time that a start may take, in seconds.
    """

    def __init__(self, start_timeout_s: float) -> None:
        self._patience_s = min(start_timeout_s, _SHORTAGE_PATIENCE_S)
        self._in_a_row = 0
        self._not_of_shortage = 0
        self._alone_since = 0.0
        self._last_template: object = None
        self.next_try_at = 0.0
        """Earliest time of the next start, on the monotonic clock."""

    def end(self) -> None:
        """Reset the count of failures, because a worker has started."""
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
        """Count a failed start.

        Args:
            others_serve: True if other workers run calls or are idle. Then no call fails.
            others_start: True if other workers are starting. Then no call fails because of a shortage: the
                other workers may have got the resource.
            template: The template that failed, or None. Failures in a row of the same template count as one.
            is_shortage: True if the machine lacked a resource for the moment, such as processes or
                descriptors. Then a call fails only if starts have failed for 10 s (or for `start_timeout_s`,
                if that is shorter) while no other worker served.
            is_hung: True if the start took too long. Then a call fails at the first failure.

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
