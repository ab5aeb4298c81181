"""What is known of a call when its worker has answered or died."""

from __future__ import annotations

from gigaexec.pool.endings.credibility import Answer
from gigaexec.pool.endings.metrics import metrics_of
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.supervision.limit_watch import hit_at_end
from gigaexec.pool.worker_handle import WorkerHandle


def ending_by_answer(worker: WorkerHandle, job: Job, answer: Answer) -> Ending:
    """The ending of a call that was answered."""
    return Ending(
        EndingKind.ANSWERED,
        result=answer.result,
        output=worker.captured_output(),
        metrics=metrics_of(worker, job, answer.result),
        file=answer.file,
        steps=worker.steps,
    )


def ending_by_death(worker: WorkerHandle, job: Job | None, exit_code: int | None) -> Ending:
    """The ending of a call whose worker is dead: an answer, where it gave one before it ended by itself."""
    kind, message = worker.death
    if job is not None and kind is EndingKind.WORKER_DIED and worker.process.is_single_use:
        hit = hit_at_end(worker, job)
        if hit is not None:
            kind, worker.hit = EndingKind.LIMIT_HIT, hit
        elif worker.answer is not None:
            return ending_by_answer(worker, job, worker.answer)
    if worker.answer is not None:
        worker.answer.close()
    return Ending(
        kind,
        exit_code=exit_code,
        message=message or worker.fault or (worker.process.failure() if exit_code is None else ""),
        output=worker.captured_output(),
        hit=worker.hit,
        metrics=metrics_of(worker, job, None) if job is not None else None,
        steps=worker.steps,
    )


def may_go_back(worker: WorkerHandle, job: Job) -> bool:
    """Whether a job whose worker died can wait for another one.

    Only when the worker cannot have run it, because it never read the whole of it: an idle worker was killed
    from outside. And only once where a part of it arrived: receiving huge arguments may itself be what kills
    workers.
    """
    kind, _ = worker.death
    if kind is not EndingKind.WORKER_DIED:
        return False
    never_ran = job.started_at is None or worker.left_call_unread
    return worker.got_nothing_of_call or (never_ran and not job.was_put_back)
