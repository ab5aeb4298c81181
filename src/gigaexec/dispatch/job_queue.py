"""Jobs that wait for a worker: first in, first out."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import islice

from gigaexec.dispatch.jobs import EndingKind, Job


class JobQueue:
    """A queue of jobs, each with a limit of its own to how long it may wait.

    A job that ended while it waited stays until it comes to the front: taking it out of the middle would
    cost a walk through what may be a hundred thousand jobs.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._expiries: list[tuple[float, int, Job]] = []

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        self._jobs.append(job)
        if job.queue_timeout_s is not None:
            expiry = job.submitted_at + job.queue_timeout_s
            heapq.heappush(self._expiries, (expiry, job.number, job))

    def put_back(self, job: Job) -> None:
        """Put a job that was taken at the front again."""
        job.put_back()
        self._jobs.appendleft(job)

    def take(self) -> Job | None:
        """Take the first job; None when there is none."""
        self._drop_ended()
        return self._jobs.popleft() if self._jobs else None

    def count_up_to(self, limit: int) -> int:
        """How many jobs wait, at most `limit`."""
        self._drop_ended()
        return sum(1 for _ in islice((job for job in self._jobs if not job.is_ended), limit))

    def first_expiry(self) -> float:
        """When the next job will have waited too long, on the monotonic clock; infinity for never."""
        return self._expiries[0][0] if self._expiries else float("inf")

    def expire(self, now: float) -> None:
        """End the jobs that have waited too long."""
        while self.first_expiry() <= now:
            _, _, job = heapq.heappop(self._expiries)
            if job.dispatched_at is None:
                job.end(EndingKind.QUEUE_TIMED_OUT)

    def end_first(self, kind: EndingKind, message: str) -> bool:
        """End the first job; returns whether there was one."""
        job = self.take()
        if job is not None:
            job.end(kind, message=message)
        return job is not None

    def _drop_ended(self) -> None:
        while self._jobs and self._jobs[0].is_ended:
            self._jobs.popleft()
