"""Looks at the processes of calls that have limits, and tells when one is hit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from gigaexec.calls import LimitHit
from gigaexec.pool.jobs import Job
from gigaexec.pool.supervision.sampling import TreeSample
from gigaexec.pool.worker_handle import WorkerHandle, WorkerState

# A look costs some 50 us for a call of one process. In 20 ms a process touches about 20 MiB of new memory at
# least and 100 MiB at most: that is how far it may get beyond its limit before it is killed.
_INTERVAL_S = 0.02

# What counting each page once takes is up to the program: it may have very many maps and processes. So it is
# done for one call after the other, in a quarter of the time at most.
_PAUSE_AFTER_EXACT_LOOK = 3

# A scratch folder is walked file by file, 4 us each. What lies behind so many of them is not found; they
# alone count for 80 MB.
_SCRATCH_INTERVAL_S = 0.1
_SCRATCH_ENTRIES = 20_000


class LimitWatch:
    """Watches the calls of one pool. Used on the dispatcher's thread only.

    Args:
        on_limit: Called with the worker and the limit that its call hit.
    """

    def __init__(self, on_limit: Callable[[WorkerHandle, LimitHit], None]) -> None:
        self._on_limit = on_limit
        self._next_scratch_look_at = 0.0
        self._next_exact_look_at = 0.0
        self.next_look_at = float("inf")
        """When to call `look`, on the monotonic clock."""

    def begin(self, job: Job) -> None:
        """A call starts."""
        if _is_watched(job):
            self.next_look_at = min(self.next_look_at, time.monotonic() + _INTERVAL_S)

    def look(self, workers: Iterable[WorkerHandle]) -> None:
        """Look at every call that runs."""
        self.next_look_at = float("inf")
        # First those for whose memory there was no time in the last round.
        watched = sorted(workers, key=lambda each: each.exact_look_at)
        scratch_of = self._next_scratch(watched)
        for worker in watched:
            job = worker.job
            # After its answer, too: a program may forge one and go on.
            is_running = worker.state in (WorkerState.BUSY, WorkerState.ENDING)
            if job is None or not is_running or not _is_watched(job):
                continue
            hit = next(self._hits(worker, job, looks_at_scratch=worker is scratch_of), None)
            if hit is not None:
                self._on_limit(worker, hit)
            else:
                self.next_look_at = time.monotonic() + _INTERVAL_S

    def _next_scratch(self, workers: Sequence[WorkerHandle]) -> WorkerHandle | None:
        """The worker whose scratch folder is looked at in this round, or None.

        One in a round, in turn: folders that are full of files must not keep the other calls waiting.
        """
        now = time.monotonic()
        candidates = [each for each in workers if each.job and each.job.limits.scratch_bytes is not None]
        if not candidates or self._next_scratch_look_at > now:
            return None
        self._next_scratch_look_at = now + _SCRATCH_INTERVAL_S / len(candidates)
        candidates.sort(key=lambda each: each.scratch_seen_at)
        candidates[0].scratch_seen_at = now
        return candidates[0]

    def _hits(self, worker: WorkerHandle, job: Job, *, looks_at_scratch: bool) -> Iterator[LimitHit]:
        limits = job.limits
        watches_scratch = looks_at_scratch and limits.scratch_bytes is not None
        sample = worker.sample() if limits.need_watching or watches_scratch else None
        if sample is not None:
            if limits.processes is not None and len(sample.pids) > limits.processes:
                yield LimitHit("processes", limits.processes, len(sample.pids))
            before_bytes = worker.memory_before_bytes
            if limits.memory_bytes is not None and sample.memory_bytes - before_bytes > limits.memory_bytes:
                memory_bytes = self._exact_memory_bytes(worker, job, sample) - before_bytes
                if memory_bytes > limits.memory_bytes:
                    yield LimitHit("memory_bytes", limits.memory_bytes, memory_bytes)
            if limits.cpu_time_s is not None:
                used_s = sample.cpu_time_s - worker.cpu_time_before_s
                if used_s > limits.cpu_time_s:
                    yield LimitHit("cpu_time_s", limits.cpu_time_s, used_s)
        if watches_scratch and limits.scratch_bytes is not None:
            used_bytes = worker.process.scratch_bytes(_SCRATCH_ENTRIES)
            used_bytes += sample.deleted_bytes if sample is not None else 0
            if used_bytes > limits.scratch_bytes:
                yield LimitHit("scratch_bytes", limits.scratch_bytes, used_bytes)

    def _exact_memory_bytes(self, worker: WorkerHandle, job: Job, sample: TreeSample) -> int:
        """As `TreeSample.exact_memory_bytes`; 0 where one more look would take too much time."""
        now = time.monotonic()
        if now < self._next_exact_look_at:
            return 0
        worker.exact_look_at = now
        before_s = time.thread_time()
        memory_bytes = sample.exact_memory_bytes(job.shared)
        took_s = time.thread_time() - before_s
        self._next_exact_look_at = time.monotonic() + _PAUSE_AFTER_EXACT_LOOK * took_s
        return memory_bytes


def hit_at_end(worker: WorkerHandle, job: Job) -> LimitHit | None:
    """Say which limit a call hit between the last look and its end. Its processes must have ended."""
    limits, account = job.limits, worker.process.account()
    if limits.scratch_bytes is not None:
        used_bytes = worker.process.scratch_bytes(_SCRATCH_ENTRIES)
        if used_bytes > limits.scratch_bytes:
            return LimitHit("scratch_bytes", limits.scratch_bytes, used_bytes)
    if limits.cpu_time_s is not None and account is not None:
        used_s = account.used.user_time_s + account.used.sys_time_s
        if used_s > limits.cpu_time_s:
            return LimitHit("cpu_time_s", limits.cpu_time_s, used_s)
    return None


def _is_watched(job: Job) -> bool:
    return job.limits.need_watching or job.limits.scratch_bytes is not None
