"""The times of one worker's states, and when a state has lasted too long."""

from __future__ import annotations

import enum
import time

from gigaexec.config import WorkerConfig
from gigaexec.pool.jobs import Job

# Seconds. A process that ends closes its channel shortly before the kernel reports its end. If a worker lives
# longer than this after its channel closed, its program closed the channel.
_EXIT_GRACE_S = 0.1

# A worker of one call ends right after its answer. A worker whose program prevents that is killed.
_END_GRACE_S = 0.5

# Seconds in which a killed worker must end; after that, its template hangs and does not reap it.
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
    """The times of one worker's states, in seconds on the monotonic clock. Made when the worker starts.

    Args:
        config: How workers run.
        has_template: The worker's template, not the driver, reaps it.
    """

    def __init__(self, config: WorkerConfig, *, has_template: bool) -> None:
        self._config = config
        self._has_template = has_template
        self._channel_lost_at = float("inf")
        self.started_at = self._state_since = time.monotonic()
        self.ready_at = 0.0

    def mark_ready(self) -> None:
        """Record that the worker reported ready for its first call."""
        self.ready_at = time.monotonic()

    def restart(self) -> None:
        """Record that the worker enters a state, or that its time in this state begins anew."""
        self._state_since = time.monotonic()

    def mark_channel_lost(self) -> None:
        """Record that the channel closed; the process is probably ending."""
        self._channel_lost_at = time.monotonic()

    def mark_death_overdue(self) -> None:
        """Record that the worker is dead and its template is slow to reap it, or hangs."""
        self._channel_lost_at = time.monotonic() + _DEATH_GRACE_S

    def forget_lost_channel(self) -> None:
        self._channel_lost_at = float("inf")

    @property
    def is_channel_lost(self) -> bool:
        """True if the channel closed, whether long ago or just now."""
        return self._channel_lost_at != float("inf")

    @property
    def is_channel_overdue(self) -> bool:
        """True if the channel closed some time ago, and the process's end has not followed."""
        return time.monotonic() >= self._channel_lost_at + _EXIT_GRACE_S

    def expiry(self, state: WorkerState, job: Job | None) -> float:
        """Return when a state has lasted too long; infinity for never."""
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
