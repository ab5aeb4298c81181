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
    TIMED_OUT = "its deadline passed"
    WORKER_DIED = "its worker process ended"
    LIMIT_HIT = "it hit a limit"
    CANCELLED = "it was withdrawn"
    QUEUE_TIMED_OUT = "no worker was free in time"
    NOT_STARTED = "no worker could be started"
    ANSWER_LOST = "it ran, and its answer was lost"
    POOL_FAILED = "the pool itself failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer, and the file that came with it."""

    result: WorkerResult
    file: OwnedDescriptor | None = None

    def close(self) -> None:
        """Close the file of an answer that nobody will read."""
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Ending:
    """End of a job. When an instance exists, the call's process is idle or dead, and its children are dead.

    Args:
        kind: The event that ended it.
        result: The worker's answer, for `ANSWERED`.
        exit_code: Exit code or minus signal number, for `WORKER_DIED`; None if it is unknown.
        message: The failure, for `NOT_STARTED`, `ANSWER_LOST`, `POOL_FAILED` and `CANCELLED`.
        output: The program's output.
        hit: The limit, for `LIMIT_HIT`.
        metrics: The call's cost, as far as it is known.
        file: The file with the value, if the value came in a file.
        steps: The steps of the sandbox.
        queue_time_s: Seconds in the queue while all workers were busy.
        start_time_s: Seconds spent waiting for a worker to start.
        run_time_s: Seconds since an idle worker had the whole call.
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
        """True if a spill file may exist: one with the value, or the remains of a failed write."""
        result = self.result
        return result is not None and (result.spill_path is not None or result.error is not None)


class Job:
    """One call in a pool. After it is submitted, only the dispatcher's thread changes its fields.

    Args:
        frames: The bytes to send to the worker.
        deadline_s: Seconds that the call may run.
        queue_timeout_s: Seconds that the call may wait for a worker; None for no limit.
        on_ended: Called once with the `Ending`, on the dispatcher's thread: it must be quick and not raise.
        files: Open files to send along. Whoever made the job keeps them open until it has ended.
        own_bytes: Size of the files that only this job uses.
        limits: What the call may use.
        shared_inodes: Inodes of the files whose memory is shared between calls and not charged to this one.
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
        """Record that a worker was chosen, and how long the call waited for that worker's start."""
        self.dispatched_at = time.monotonic()
        if is_first_call:
            self.start_time_s = max(0.0, worker_ready_at - max(awaited_since, self.submitted_at))

    def mark_started(self, at: float) -> None:
        """Record that an idle worker has had the whole call since `at`: its run has begun."""
        assert self.dispatched_at is not None
        self.started_at = at
        self.start_time_s += self.started_at - self.dispatched_at

    def requeue(self, *, counts: bool) -> None:
        """Record that the chosen worker died before it took the call.

        Args:
            counts: A part of the call had reached the worker; the job must not be requeued for that twice.
        """
        self.dispatched_at = self.started_at = None
        self.start_time_s = 0.0
        self.was_requeued = self.was_requeued or counts

    def mark_answered(self) -> None:
        """Record that the worker has answered: the run is over, its processes may still be ending."""
        self.answered_at = time.monotonic()

    def end(self, ending: Ending) -> None:
        """Report how the job ended, with the clocks. Does nothing the second time."""
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
        # Drop the reference to the caller: the queue may hold an ended job for a long time.
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
