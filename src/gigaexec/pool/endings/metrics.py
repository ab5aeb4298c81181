"""What a call cost: the worker's own account, corrected by what the program cannot reach."""

from __future__ import annotations

import time
from dataclasses import replace

from gigaexec.calls import ExecutionMetrics, WorkerResult
from gigaexec.pool.jobs import Job
from gigaexec.pool.worker_handle import WorkerHandle


def metrics_of(worker: WorkerHandle, job: Job, result: WorkerResult | None) -> ExecutionMetrics | None:
    """Put together what is known of a call that has ended.

    Args:
        worker: Its worker.
        job: The call.
        result: The worker's answer, if there was one.

    Returns:
        None where no worker reported back and the kernel's account is not known either.
    """
    metrics = result.metrics if result is not None else _measured_from_outside(worker, job)
    if metrics is None:
        return None
    layout = result.layout if result is not None else None
    metrics = replace(
        metrics,
        worker_pid=worker.process.pid,
        peak_rss_kb=max(metrics.peak_rss_kb, worker.peak_tree_kb),
        bytes_in=job.sent_bytes,
        bytes_out=layout.total_bytes if layout is not None else 0,
    )
    account = worker.process.account()
    if account is None:
        outside = _measured_from_outside(worker, job)
        if outside is None:
            return metrics
        # It was killed. If there is an answer, it did not end after it, and what it says is worth little.
        measured = {name: getattr(metrics, name) for name in ("seed", "bytes_in", "bytes_out")}
        return replace(outside, **measured, peak_rss_kb=max(outside.peak_rss_kb, worker.peak_tree_kb))
    metrics = _within(metrics, job)
    return replace(
        metrics,
        worker_id=worker.worker_id,
        node_id=worker.node_id,
        peak_rss_kb=max(account.peak_rss_kb, worker.peak_tree_kb),
        lifetime_peak_rss_kb=account.peak_rss_kb,
        user_time_s=account.used.user_time_s,
        sys_time_s=account.used.sys_time_s,
        voluntary_switches=account.used.voluntary_switches,
        involuntary_switches=account.used.involuntary_switches,
        minor_faults=account.used.minor_faults,
        major_faults=account.used.major_faults,
    )


def _measured_from_outside(worker: WorkerHandle, job: Job) -> ExecutionMetrics | None:
    """The account of a call that never answered: the last look at its processes, or the kernel's."""
    sample = worker.last_sample
    if job.started_at is None or not worker.process.is_single_use:
        return None
    ended_at = job.answered_at if job.answered_at is not None else time.monotonic()
    started_at_ns, finished_at_ns = int(job.started_at * 1e9), int(ended_at * 1e9)
    return ExecutionMetrics(
        peak_rss_kb=sample.peak_rss_kb if sample is not None else 0,
        wall_time_s=(finished_at_ns - started_at_ns) / 1e9,
        user_time_s=sample.user_time_s if sample is not None else 0.0,
        sys_time_s=sample.sys_time_s if sample is not None else 0.0,
        worker_pid=worker.process.pid,
        worker_id=worker.worker_id,
        node_id=worker.node_id,
        started_at_ns=started_at_ns,
        finished_at_ns=finished_at_ns,
        lifetime_peak_rss_kb=sample.peak_rss_kb if sample is not None else 0,
    )


def _within(metrics: ExecutionMetrics, job: Job) -> ExecutionMetrics:
    """A program that took over its worker can claim any clock; none beyond what the driver saw."""
    if job.started_at is None or job.answered_at is None:
        return metrics
    earliest_ns, latest_ns = int(job.started_at * 1e9), int(job.answered_at * 1e9)
    started_at_ns = min(max(metrics.started_at_ns, earliest_ns), latest_ns)
    finished_at_ns = min(max(metrics.finished_at_ns, started_at_ns), latest_ns)
    return replace(
        metrics,
        started_at_ns=started_at_ns,
        finished_at_ns=finished_at_ns,
        wall_time_s=(finished_at_ns - started_at_ns) / 1e9,
    )
