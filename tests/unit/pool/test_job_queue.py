"""R33, R34: queue timeouts of jobs."""

from __future__ import annotations

from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import Ending, EndingKind, Job


def test_a_job_that_is_requeued_keeps_its_queue_timeout() -> None:
    endings: list[Ending] = []
    job = Job([b"frame"], deadline_s=1.0, queue_timeout_s=0.5, on_ended=endings.append)
    queue = JobQueue()
    queue.add(job)
    assert queue.take() is job
    job.mark_dispatched(0.0, 0.0, is_first_call=False)
    queue.expire(job.submitted_at + 1.0, starting_workers=0)
    assert not endings, "a dispatched job must not expire"
    queue.requeue(job, counts=True)
    assert queue.first_expiry() == job.submitted_at + 0.5
    queue.expire(job.submitted_at + 1.0, starting_workers=0)
    assert [ending.kind for ending in endings] == [EndingKind.QUEUE_TIMED_OUT]
