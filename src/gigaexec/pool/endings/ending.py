"""Build the `Ending` of a call from its worker's answer or death."""

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
    """The cause of a worker's death.

    The default means that the worker died by itself, or was killed without a cause.
    """

    kind: EndingKind = EndingKind.WORKER_DIED
    message: str = ""


def ending_by_answer(call: RunningCall, answer: Answer, output: CapturedOutput, steps: Steps) -> Ending:
    """Return the ending of an answered call."""
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

    If a supervised worker answered first, and then ended by itself within all limits, the call ends with that
    answer.
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
    """True if a call whose worker died may go to another worker.

    The worker must have died before it read the whole call, so that the program cannot have run. Examples:
    an idle worker was killed from outside, or the driver killed the worker because the call could not be
    sent. If the worker had read a part of the call, the call is requeued only once, because its large
    arguments may be what kills workers.
    """
    if death.kind is not EndingKind.WORKER_DIED:
        return False
    never_ran = call.job.started_at is None or call.was_left_unread
    return call.is_untouched or (never_ran and not call.job.was_requeued)


def _start_failure_text(call: RunningCall) -> str:
    failure = call.supervised.start_failure() if call.supervised is not None else None
    return failure.text if failure is not None else ""
