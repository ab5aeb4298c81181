"""The facts about one call from the moment it is sent to a worker until it has ended."""

from __future__ import annotations

import time

from gigaexec.calls import LimitHit
from gigaexec.pool.jobs import Answer, Job
from gigaexec.pool.supervision.sampling import TreeSample, sample_tree
from gigaexec.pool.worker_process import SupervisedProcess, WorkerProcess


def must_sample_before(job: Job, supervised: SupervisedProcess | None) -> bool:
    """True if a worker's use of resources must be measured before it gets the call.

    Limits count what a call adds to the use of a reused worker. Reading `/proc` takes 50 us, and longer if
    the worker has many threads.
    """
    return supervised is None and job.limits.need_watching


class RunningCall:
    """One call in one worker. Created when the call is sent.

    Used on the dispatcher's thread, or under its lock.

    A call without `must_sample_before` may be created on a submitting thread, under the pool's lock.

    Args:
        job: The job of the call.
        process: The worker's process.
        worker_id: The worker's id, for the metrics.
        node_id: Name of this machine, for the metrics.
    """

    def __init__(self, job: Job, process: WorkerProcess, worker_id: str, node_id: str) -> None:
        self.job = job
        self.process = process
        self.worker_id = worker_id
        self.node_id = node_id
        self.supervised = process if isinstance(process, SupervisedProcess) else None
        """`process` if it runs only this call: all its resource use belongs to the call. Otherwise None."""
        self.answer: Answer | None = None
        """The answer of a supervised worker whose processes have not ended yet."""
        self.hit: LimitHit | None = None
        self.is_untouched = False
        """True if the call could not be sent and not one byte of it reached the worker."""
        self.was_left_unread = False
        """True if the worker's end of the channel closed with a part of the call unread."""
        self.peak_tree_kb = 0
        self.last_sample: TreeSample | None = None
        self.cpu_time_before_s = 0.0
        """CPU time that a reused worker had used before the call."""
        self.memory_before_bytes = 0
        """Memory that a reused worker used before the call."""
        # Calls that were sampled longest ago are sampled first; a call that has just begun comes last.
        self.scratch_sampled_at = self.exact_sample_at = time.monotonic()
        self._needs_baseline = must_sample_before(job, self.supervised)
        if self._needs_baseline:
            self.sample()

    def sample(self) -> TreeSample | None:
        """Measure the resource use of the call's processes. Returns None if they cannot be measured."""
        root_pid = self.supervised.root_pid if self.supervised is not None else self.process.pid
        if not root_pid:
            return None
        sample = sample_tree(root_pid, self.process.pid, self.job.shared_inodes)
        if sample is not None:
            if self._needs_baseline:  # the first successful sample is the baseline
                self._needs_baseline = False
                self.cpu_time_before_s = sample.cpu_time_s
                self.memory_before_bytes = sample.memory_bytes
            self.peak_tree_kb = max(self.peak_tree_kb, sample.memory_bytes // 1024)
            self.last_sample = sample
        return sample
