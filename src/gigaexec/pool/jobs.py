"""A call on its way through a pool, and its ending."""

from __future__ import annotations

import enum
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gigaexec.calls import CapturedOutput, ConfinementStep, ExecutionMetrics, LimitHit, WorkerResult
from gigaexec.limits import Limits
from gigaexec.wire.descriptors import OwnedDescriptor

_sequence = itertools.count()


class EndingKind(enum.Enum):
    """The event that ended a job."""

    ANSWERED = "the worker sent a result"
    TIMED_OUT = "the deadline passed"
    WORKER_DIED = "the worker process ended"
    LIMIT_HIT = "the call hit a limit"
    CANCELLED = "the call was cancelled"
    QUEUE_TIMED_OUT = "no worker was free in time"
    NOT_STARTED = "no worker could be started"
    ANSWER_LOST = "the call ran, and the answer was lost"
    POOL_FAILED = "the pool itself failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer, and the file that was sent with the answer."""

    result: WorkerResult
    file: OwnedDescriptor | None = None

    def close(self) -> None:
        """Close the file of an answer that nobody will read."""
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a job. If a worker ran the job, that worker is idle or dead, and all its children are dead.

    Args:
        kind: The event that ended the job.
        result: The worker's answer, for `ANSWERED`.
        exit_code: Exit code, or minus the signal's number, for `WORKER_DIED`; None if it is unknown.
        message: Error text, for `NOT_STARTED`, `ANSWER_LOST`, `POOL_FAILED`, `CANCELLED` and `WORKER_DIED`.
        output: The kept part of the program's output.
        hit: The limit that the call hit, for `LIMIT_HIT`.
        metrics: The metrics of the call; None if they are unknown.
        file: The open file with the value; None if the value was sent in another way, or if there is no
            value. The reader of the value closes the file.
        steps: The sandbox steps that the worker reported.
        queue_time_s: Seconds that the job waited while all workers were busy.
        start_time_s: Seconds that the job waited for a worker to start.
        run_time_s: Seconds from when the worker had received the whole call until its answer or death.
    """

    kind: EndingKind
    result: WorkerResult | None = None
    exit_code: int | None = None
    message: str = ""
    output: CapturedOutput = field(default_factory=CapturedOutput)
    hit: LimitHit | None = None
    metrics: ExecutionMetrics | None = None
    file: OwnedDescriptor | None = None
    steps: tuple[ConfinementStep, ...] = ()
    queue_time_s: float = 0.0
    start_time_s: float = 0.0
    run_time_s: float = 0.0

    @property
    def may_have_spilled(self) -> bool:
        """True if a spill file may exist: a file with the value, or a partial file of a failed write."""
        result = self.result
        return result is not None and (result.spill_path is not None or result.error is not None)


class Job:
    """One call in a pool. After the job is submitted, its fields change under the pool's lock only.

    Args:
        frames: The bytes to send to the worker.
        deadline_s: Seconds that the call may run.
        queue_timeout_s: Seconds that the call may wait for a worker; None for no limit.
        on_ended: Called once with the `Ending`, on the dispatcher's thread, or on the submitting or
            cancelling thread if the pool has stopped. Must be quick, and must not raise.
        files: Open files to send with the call. The creator of the job keeps them open until the job has
            ended.
        own_bytes: Total size of the files that only this job uses.
        limits: Limits of the call; None for no limits.
        shared_inodes: Inodes of the files with shared arguments. Their memory is not charged to the call.
    """

    def __init__(
        self,
        frames: Sequence[bytes | memoryview],
        *,
        deadline_s: float,
        queue_timeout_s: float | None,
        on_ended: Callable[[Ending], None],
        files: Sequence[OwnedDescriptor] = (),
        own_bytes: int = 0,
        limits: Limits | None = None,
        shared_inodes: frozenset[int] = frozenset(),
    ) -> None:
        self.frames = frames
        self.files = files
        self.limits = limits if limits is not None else Limits()
        self.shared_inodes = shared_inodes
        self.sent_bytes = sum(map(len, frames)) + own_bytes
        self.deadline_s = deadline_s
        self.queue_timeout_s = queue_timeout_s
        self.number = next(_sequence)
        self.submitted_at = time.monotonic()
        self.dispatched_at: float | None = None
        self.started_at: float | None = None
        self.answered_at: float | None = None
        self.start_time_s = 0.0
        self.was_requeued = False
        self.is_ended = False
        self._on_ended = on_ended

    def mark_dispatched(self, awaited_since: float, worker_ready_at: float, is_first_call: bool) -> None:
        """Record that a worker was chosen, and how long the job waited for the start of this worker.

        Args:
            awaited_since: Earliest time from which a call could wait for the start of this worker, on the
                monotonic clock. If the job was submitted later, its wait begins at the submission.
            worker_ready_at: The time at which the worker became ready, on the monotonic clock.
            is_first_call: True if the worker has run no call yet.
        """
        self.dispatched_at = time.monotonic()
        if is_first_call:
            self.start_time_s = max(0.0, worker_ready_at - max(awaited_since, self.submitted_at))

    def mark_started(self, at: float) -> None:
        """Record that the run began at the time `at`, when the worker had received the whole call."""
        assert self.dispatched_at is not None
        self.started_at = at
        self.start_time_s += self.started_at - self.dispatched_at

    def requeue(self, *, counts: bool) -> None:
        """Record that the chosen worker died before it had read the whole call.

        Args:
            counts: True if a part of the call had reached the worker. A job is requeued at most once for this
                reason.
        """
        self.dispatched_at = self.started_at = None
        self.start_time_s = 0.0
        self.was_requeued = self.was_requeued or counts

    def mark_answered(self) -> None:
        """Record that the worker has answered. The run is over; processes of the call may still be ending."""
        self.answered_at = time.monotonic()

    def end(self, ending: Ending) -> None:
        """Pass the ending and the measured times to `on_ended`.

        If the job has ended already, this method only closes `ending.file`.
        """
        if self.is_ended:
            if ending.file is not None:
                ending.file.close()
            return
        self.is_ended = True
        self.frames = []
        self.files = ()
        now = time.monotonic()
        total_time_s = now - self.submitted_at
        run_time_s = 0.0
        if self.started_at is not None:
            end_time_s = now - self.answered_at if self.answered_at is not None else 0.0
            total_time_s -= end_time_s
            run_time_s = now - end_time_s - self.started_at
        # The queue may keep an ended job for a long time, so the reference to the caller is dropped.
        on_ended, self._on_ended = self._on_ended, _ignore
        on_ended(
            replace(
                ending,
                queue_time_s=max(0.0, total_time_s - run_time_s - self.start_time_s),
                start_time_s=self.start_time_s,
                run_time_s=run_time_s,
            )
        )


def _ignore(_: Ending) -> None:
    pass
