"""Samples the processes of calls that have limits, and reports the first limit that a call hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from gigaexec.calls import LimitHit
from gigaexec.pool.jobs import Job
from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.pool.supervision.sampling import TreeSample

# Seconds between samples. A sample of a call with one process takes about 50 us. In 20 ms, a process can
# touch 20 to 100 MiB of new memory, so it may exceed its memory limit by that amount before it is killed.
_INTERVAL_S = 0.02

# Pause after an exact sample, as a multiple of the time that the sample took. A program controls this time by
# the number of its mappings and processes. With the pause, exact samples take at most a quarter of the
# dispatcher thread's time.
_PAUSE_AFTER_EXACT_SAMPLE = 3

# Walking a scratch folder takes 4 us per file. Only the first 20,000 entries are counted. Each of them counts
# as at least 4 KiB, together at least 80 MB.
_SCRATCH_INTERVAL_S = 0.1
_SCRATCH_ENTRIES = 20_000


class LimitWatch:
    """Watches the limits of one pool's calls. Used on the dispatcher's thread only, except `begin`.

    Args:
        on_limit: Called with the call and the limit that it hit.
    """

    def __init__(self, on_limit: Callable[[RunningCall, LimitHit], None]) -> None:
        self._on_limit = on_limit
        self._next_scratch_sample_at = 0.0
        self._next_exact_sample_at = 0.0
        self.next_sample_at = float("inf")
        """The time at which to call `sample`, on the monotonic clock; infinity if no call is watched."""

    def begin(self, job: Job) -> None:
        """Watch a call that has been sent, if it has limits. For any thread that holds the pool's lock."""
        if _is_watched(job):
            self.next_sample_at = min(self.next_sample_at, time.monotonic() + _INTERVAL_S)

    def sample(self, calls: Iterable[RunningCall]) -> None:
        """Sample the calls that have limits.

        Args:
            calls: All running calls, including answered calls: a program may forge an answer and continue.
        """
        self.next_sample_at = float("inf")
        # Calls whose last exact sample is oldest come first: the previous round may have had no time for
        # them.
        watched = sorted(
            (call for call in calls if _is_watched(call.job)), key=lambda call: call.exact_sample_at
        )
        scratch_of = self._next_scratch(watched)
        for call in watched:
            hit = next(self._hits(call, samples_scratch=call is scratch_of), None)
            if hit is not None:
                self._on_limit(call, hit)
            else:
                self.next_sample_at = time.monotonic() + _INTERVAL_S

    def _next_scratch(self, watched: Sequence[RunningCall]) -> RunningCall | None:
        """Return the call whose scratch folder is walked in this round; None if no walk is due.

        One folder is walked per round, in turn, so that a folder with many files does not delay the other
        calls.
        """
        now = time.monotonic()
        candidates = [call for call in watched if call.job.limits.scratch_bytes is not None]
        if not candidates or self._next_scratch_sample_at > now:
            return None
        self._next_scratch_sample_at = now + _SCRATCH_INTERVAL_S / len(candidates)
        chosen = min(candidates, key=lambda call: call.scratch_sampled_at)
        chosen.scratch_sampled_at = now
        return chosen

    def _hits(self, call: RunningCall, *, samples_scratch: bool) -> Iterator[LimitHit]:
        limits = call.job.limits
        samples_scratch = samples_scratch and limits.scratch_bytes is not None
        sample = call.sample() if limits.need_watching or samples_scratch else None
        if sample is not None:
            if limits.processes is not None and len(sample.pids) > limits.processes:
                yield LimitHit("processes", limits.processes, len(sample.pids))
            before_bytes = call.memory_before_bytes
            if limits.memory_bytes is not None and sample.memory_bytes - before_bytes > limits.memory_bytes:
                memory_bytes = self._exact_memory_bytes(call, sample) - before_bytes
                if memory_bytes > limits.memory_bytes:
                    yield LimitHit("memory_bytes", limits.memory_bytes, memory_bytes)
            if limits.cpu_time_s is not None:
                used_s = sample.cpu_time_s - call.cpu_time_before_s
                if used_s > limits.cpu_time_s:
                    yield LimitHit("cpu_time_s", limits.cpu_time_s, used_s)
        if samples_scratch and limits.scratch_bytes is not None:
            used_bytes = _scratch_bytes(call) + (sample.deleted_bytes if sample is not None else 0)
            if used_bytes > limits.scratch_bytes:
                yield LimitHit("scratch_bytes", limits.scratch_bytes, used_bytes)

    def _exact_memory_bytes(self, call: RunningCall, sample: TreeSample) -> int:
        """Return `TreeSample.exact_memory_bytes`; 0 during the pause after the previous exact sample."""
        now = time.monotonic()
        if now < self._next_exact_sample_at:
            return 0
        call.exact_sample_at = now
        before_s = time.thread_time()
        memory_bytes = sample.exact_memory_bytes(call.job.shared_inodes)
        took_s = time.thread_time() - before_s
        self._next_exact_sample_at = time.monotonic() + _PAUSE_AFTER_EXACT_SAMPLE * took_s
        return memory_bytes


def hit_at_end(call: RunningCall) -> LimitHit | None:
    """Return the limit that a call hit after its last sample, or None. All its processes must have ended."""
    limits = call.job.limits
    account = call.supervised.account() if call.supervised is not None else None
    if limits.scratch_bytes is not None:
        used_bytes = _scratch_bytes(call)
        if used_bytes > limits.scratch_bytes:
            return LimitHit("scratch_bytes", limits.scratch_bytes, used_bytes)
    if limits.cpu_time_s is not None and account is not None:
        used_s = account.used.user_time_s + account.used.sys_time_s
        if used_s > limits.cpu_time_s:
            return LimitHit("cpu_time_s", limits.cpu_time_s, used_s)
    return None


def _scratch_bytes(call: RunningCall) -> int:
    return call.supervised.scratch_bytes(_SCRATCH_ENTRIES) if call.supervised is not None else 0


def _is_watched(job: Job) -> bool:
    return job.limits.need_watching or job.limits.scratch_bytes is not None
