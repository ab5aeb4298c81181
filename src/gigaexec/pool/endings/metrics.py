"""Metrics of a call, reported by the worker and corrected by measurements that a program cannot forge."""

from __future__ import annotations

import time
from dataclasses import replace

from gigaexec.calls import ExecutionMetrics, WorkerResult
from gigaexec.pool.jobs import Job
from gigaexec.pool.supervision.running_call import RunningCall


def metrics_of(call: RunningCall, result: WorkerResult | None) -> ExecutionMetrics | None:
    """Return the metrics of a call that has ended.

    Args:
        call: The ended call.
        result: The worker's answer; None if the worker gave no answer.

    Returns:
        The metrics. None if there is no answer and the driver has no measurements: the call had not started,
        or ran in a reused worker.
    """
    metrics = result.metrics if result is not None else _measured_from_outside(call)
    if metrics is None:
        return None
    layout = result.layout if result is not None else None
    metrics = replace(
        metrics,
        worker_pid=call.process.pid,
        peak_rss_kb=max(metrics.peak_rss_kb, call.peak_tree_kb),
        bytes_in=call.job.sent_bytes,
        bytes_out=layout.total_bytes if layout is not None else 0,
    )
    account = call.supervised.account() if call.supervised is not None else None
    if account is None:
        outside = _measured_from_outside(call)
        if outside is None:
            return metrics
        # The kernel's measurements are missing, because the worker was killed. If the worker answered before
        # that, it did not end by itself after its answer, so the numbers in the answer are not credible.
        measured = {name: getattr(metrics, name) for name in ("seed", "bytes_in", "bytes_out")}
        return replace(outside, **measured, peak_rss_kb=max(outside.peak_rss_kb, call.peak_tree_kb))
    metrics = _within(metrics, call.job)
    return replace(
        metrics,
        worker_id=call.worker_id,
        node_id=call.node_id,
        peak_rss_kb=max(account.peak_rss_kb, call.peak_tree_kb),
        lifetime_peak_rss_kb=account.peak_rss_kb,
        user_time_s=account.used.user_time_s,
        sys_time_s=account.used.sys_time_s,
        voluntary_switches=account.used.voluntary_switches,
        involuntary_switches=account.used.involuntary_switches,
        minor_faults=account.used.minor_faults,
        major_faults=account.used.major_faults,
    )


def _measured_from_outside(call: RunningCall) -> ExecutionMetrics | None:
    """Return metrics for a call without a credible answer, from the driver's clocks and the last sample.

    None if the call had not started, or ran in a reused worker.
    """
    sample, job = call.last_sample, call.job
    if job.started_at is None or call.supervised is None:
        return None
    ended_at = job.answered_at if job.answered_at is not None else time.monotonic()
    started_at_ns, finished_at_ns = int(job.started_at * 1e9), int(ended_at * 1e9)
    return ExecutionMetrics(
        peak_rss_kb=sample.peak_rss_kb if sample is not None else 0,
        wall_time_s=(finished_at_ns - started_at_ns) / 1e9,
        user_time_s=sample.user_time_s if sample is not None else 0.0,
        sys_time_s=sample.sys_time_s if sample is not None else 0.0,
        worker_pid=call.process.pid,
        worker_id=call.worker_id,
        node_id=call.node_id,
        started_at_ns=started_at_ns,
        finished_at_ns=finished_at_ns,
        lifetime_peak_rss_kb=sample.peak_rss_kb if sample is not None else 0,
    )


def _within(metrics: ExecutionMetrics, job: Job) -> ExecutionMetrics:
    """Clamp reported times to the driver's clock: a program that controls its worker can report any time."""
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
