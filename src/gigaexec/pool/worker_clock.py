"""The times of one worker's states, and the timeout of each state."""

from __future__ import annotations

import enum
import time

from gigaexec.config import WorkerConfig
from gigaexec.pool.jobs import Job

# Seconds. When a process ends, its channel closes shortly before the kernel reports the end. If a worker is
# still alive this long after its channel closed, the program has closed the channel.
_EXIT_GRACE_S = 0.1

# Seconds that a worker for one call gets to end after its answer. If its program prevents the end, the worker
# is killed.
_END_GRACE_S = 0.5

# Seconds in which a killed worker must end. If the worker takes longer, its template hangs and does not reap
# the worker.
_DEATH_GRACE_S = 2.0


class WorkerState(enum.Enum):
    STARTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    ENDING = enum.auto()
    """The worker has answered its one call, and its processes are about to end."""
    DYING = enum.auto()
    """The worker was killed, and its end is not confirmed yet."""


class WorkerClock:
    """The times of one worker's states, in seconds on the monotonic clock. Created when the worker starts.

    Args:
        config: Configuration of the workers.
        has_template: True if a template reaps the worker; False if the driver does.
    """

    def __init__(self, config: WorkerConfig, *, has_template: bool) -> None:
        self._config = config
        self._has_template = has_template
        self._channel_lost_at = float("inf")
        self.started_at = self._state_since = time.monotonic()
        self.ready_at = 0.0

    def mark_ready(self) -> None:
        """Record that the worker is now ready for its first call."""
        self.ready_at = time.monotonic()

    def restart(self) -> None:
        """Record that the worker enters a state, or restart the timeout of its current state."""
        self._state_since = time.monotonic()

    def mark_channel_lost(self) -> None:
        """Record that the worker's channel closed. The process is probably ending."""
        self._channel_lost_at = time.monotonic()

    def mark_death_overdue(self) -> None:
        """Record that the worker is dead, but not yet reaped: its template is slow, or hangs."""
        self._channel_lost_at = time.monotonic() + _DEATH_GRACE_S

    def forget_lost_channel(self) -> None:
        self._channel_lost_at = float("inf")

    @property
    def is_channel_lost(self) -> bool:
        """True if the worker's channel has closed, even if only a moment ago."""
        return self._channel_lost_at != float("inf")

    @property
    def is_channel_overdue(self) -> bool:
        """True if the process has not ended within `_EXIT_GRACE_S` after its channel closed."""
        return time.monotonic() >= self._channel_lost_at + _EXIT_GRACE_S

    def expiry(self, state: WorkerState, job: Job | None) -> float:
        """Return the time at which the state times out, on the monotonic clock; infinity for no timeout."""
        lost = self._channel_lost_at + _EXIT_GRACE_S
        if state is WorkerState.STARTING:
            return self.started_at + self._config.start_timeout_s
        if state is WorkerState.IDLE:
            return min(lost, self._state_since + self._config.idle_timeout_s)
        if state is WorkerState.BUSY and job is not None:
            if job.started_at is not None:
                return min(lost, job.started_at + job.deadline_s)
            if job.dispatched_at is not None:
                return min(lost, job.dispatched_at + self._config.start_timeout_s)
        if state is WorkerState.ENDING:
            return self._state_since + _END_GRACE_S
        if state is WorkerState.DYING and self._has_template:
            return self._state_since + _DEATH_GRACE_S
        return float("inf")
