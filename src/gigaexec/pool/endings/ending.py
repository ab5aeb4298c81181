"""From a worker's answer or death to the `Ending` of its call."""

from __future__ import annotations

from dataclasses import dataclass

from gigaexec.calls import CapturedOutput, ConfinementStep
from gigaexec.pool.endings.metrics import metrics_of
from gigaexec.pool.jobs import Answer, Ending, EndingKind
from gigaexec.pool.supervision.limit_watch import hit_at_end
from gigaexec.pool.supervision.running_call import RunningCall

Steps = tuple[ConfinementStep, ...]


@dataclass(frozen=True, slots=True)
class Death:
    """The cause of a worker's death: a worker that nobody killed has the default."""

    kind: EndingKind = EndingKind.WORKER_DIED
    message: str = ""


def ending_by_answer(call: RunningCall, answer: Answer, output: CapturedOutput, steps: Steps) -> Ending:
    """Return the ending of a call that was answered."""
    return Ending(
        EndingKind.ANSWERED,
        result=answer.result,
        output=output,
        metrics=metrics_of(call, answer.result),
        file=answer.file,
        steps=steps,
    )


def ending_by_death(
    call: RunningCall, death: Death, exit_code: int | None, output: CapturedOutput, steps: Steps
) -> Ending:
    """Return the ending of a call whose worker is dead.

    That is the answer, if a supervised worker gave one and then ended by itself within all limits.
    """
    kind = death.kind
    if kind is EndingKind.WORKER_DIED and call.supervised is not None:
        hit = hit_at_end(call)
        if hit is not None:
            kind, call.hit = EndingKind.LIMIT_HIT, hit
        elif call.answer is not None:
            return ending_by_answer(call, call.answer, output, steps)
    if call.answer is not None:
        call.answer.close()
    return Ending(
        kind,
        exit_code=exit_code,
        message=death.message or (_start_failure_text(call) if exit_code is None else ""),
        output=output,
        hit=call.hit,
        metrics=metrics_of(call, None),
        steps=steps,
    )


def may_be_requeued(call: RunningCall, death: Death) -> bool:
    """True if a call whose worker died can wait for another worker.

    That is the case if the worker never read the whole call, and so cannot have run it: an idle worker was
    killed from outside. A call of which a part arrived is requeued only once, because huge arguments may be
    what kills the workers.
    """
    if death.kind is not EndingKind.WORKER_DIED:
        return False
    never_ran = call.job.started_at is None or call.was_left_unread
    return call.is_untouched or (never_ran and not call.job.was_requeued)


def _start_failure_text(call: RunningCall) -> str:
    failure = call.supervised.start_failure() if call.supervised is not None else None
    return failure.text if failure is not None else ""
