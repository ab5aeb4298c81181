"""Jobs that wait for a worker: first in, first out."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import islice

from gigaexec.pool.jobs import Ending, EndingKind, Job

# Seconds until an expired job is checked again, if it was spared because a starting worker may take it.
_NEXT_CHECK_S = 0.02


class JobQueue:
    """A queue of jobs. Each job has its own maximum waiting time, `queue_timeout_s`.

    A job that ends while it waits is removed later, when it reaches the front: removing it from the middle
    would scan up to a hundred thousand jobs.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._expiries: list[tuple[float, int, Job]] = []
        self._taken_since_cleanup = 0

    def add(self, job: Job) -> None:
        """Append a job to the queue."""
        self._jobs.append(job)
        self._note_expiry(job)

    def requeue(self, job: Job, *, counts: bool) -> None:
        """Return a job to the front of the queue, because its worker died. `counts`: see `Job.requeue`."""
        job.requeue(counts=counts)
        self._jobs.appendleft(job)
        self._note_expiry(job)

    def first(self) -> Job | None:
        """Return the first job; None if no job waits."""
        self._drop_ended()
        return self._jobs[0] if self._jobs else None

    def take(self) -> Job | None:
        """Remove and return the first job; None if no job waits."""
        if self.first() is None:
            return None
        self._taken_since_cleanup += 1
        if self._taken_since_cleanup > max(64, len(self._expiries) // 2):
            self._clean_expiries()
        return self._jobs.popleft()

    def count_up_to(self, limit: int) -> int:
        """Return the number of waiting jobs, or `limit` if more jobs wait."""
        self._drop_ended()
        return sum(1 for _ in islice(self._waiting(), limit))

    def first_expiry(self) -> float:
        """Return the time at which the next job expires, on the monotonic clock; infinity if no job does."""
        return self._expiries[0][0] if self._expiries else float("inf")

    def expire(self, now: float, starting_workers: int) -> None:
        """End the jobs that have waited too long, except jobs that a starting worker is about to take.

        The wait for a worker's start has its own limit, `start_timeout_s`.

        Args:
            now: The time on the monotonic clock.
            starting_workers: Number of starting workers that may each take a job. The same number of jobs at
                the front is spared.
        """
        spared = [job.number for job in islice(self._waiting(), starting_workers)]
        while self.first_expiry() <= now:
            _, number, job = heapq.heappop(self._expiries)
            if number in spared:
                heapq.heappush(self._expiries, (now + _NEXT_CHECK_S, number, job))
            elif job.dispatched_at is None:
                job.end(Ending(EndingKind.QUEUE_TIMED_OUT))

    def end_first(self, kind: EndingKind, message: str) -> bool:
        """End the first job. Returns False if no job waits."""
        job = self.take()
        if job is not None:
            job.end(Ending(kind, message=message))
        return job is not None

    def _note_expiry(self, job: Job) -> None:
        if job.queue_timeout_s is not None:
            expiry = job.submitted_at + job.queue_timeout_s
            heapq.heappush(self._expiries, (expiry, job.number, job))

    def _waiting(self) -> Iterator[Job]:
        return (job for job in self._jobs if not job.is_ended)

    def _clean_expiries(self) -> None:
        self._taken_since_cleanup = 0
        self._expiries = [
            entry for entry in self._expiries if not entry[2].is_ended and entry[2].dispatched_at is None
        ]
        heapq.heapify(self._expiries)

    def _drop_ended(self) -> None:
        while self._jobs and self._jobs[0].is_ended:
            self._jobs.popleft()
