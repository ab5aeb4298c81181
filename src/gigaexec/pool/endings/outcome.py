"""Turn the ending of a job into the `Outcome` that the caller gets."""

from __future__ import annotations

import signal
from typing import Any

from gigaexec.calls import ErrorKind, LimitHit, Outcome, OutcomeStatus
from gigaexec.errors import (
    AnswerLostError,
    CallCancelledError,
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
    InfrastructureError,
    LimitExceededError,
    QueueTimeoutError,
    WorkerCrashedError,
    WorkerStartError,
)
from gigaexec.limits import LIMIT_SPECS, LimitSpec
from gigaexec.pool.jobs import Ending, EndingKind
from gigaexec.quantities import bytes_text


def successful_outcome(ending: Ending, value: Any) -> Outcome:
    """Return the outcome of a call whose value was read."""
    return _outcome(ending, value, None)


def failed_outcome(
    ending: Ending,
    *,
    deadline_s: float,
    queue_timeout_s: float | None,
    unreadable: GigaexecError | None = None,
) -> Outcome:
    """Return the outcome of a call that has no value.

    Args:
        ending: The ending of the call.
        deadline_s: The deadline of the call, for the error message.
        queue_timeout_s: The longest time that the call may wait for a worker, for the error message.
        unreadable: The error from reading the worker's value; None if reading did not fail.
    """
    if ending.kind is EndingKind.LIMIT_HIT:
        assert ending.hit is not None
        error: GigaexecError = _limit_failure(ending, ending.hit, stderr=ending.output.as_report())
    elif ending.kind is EndingKind.ANSWERED:
        error = unreadable or _reported_failure(ending)
    else:
        error = _error_of_ending(ending, deadline_s, queue_timeout_s)
    return _outcome(ending, None, error)


def _outcome(ending: Ending, value: Any, error: GigaexecError | None) -> Outcome:
    return Outcome(
        status=OutcomeStatus.OK if error is None else error.status,
        value=value,
        error=error,
        output=ending.output,
        metrics=ending.metrics,
        queue_time_s=ending.queue_time_s,
        start_time_s=ending.start_time_s,
        run_time_s=ending.run_time_s,
        confinement=ending.steps,
    )


def _reported_failure(ending: Ending) -> GigaexecError:
    """Return the error of a failure that the worker reported."""
    assert ending.result is not None
    failure = ending.result.error
    assert failure is not None
    kind = failure.kind.error
    if issubclass(kind, InfrastructureError):
        return kind(failure.summary)
    stderr = f"{failure.stderr.rstrip()}\n\n{ending.output.as_report()}" if ending.output else failure.stderr
    if failure.kind is ErrorKind.LIMIT:
        if failure.hit is not None and failure.hit.name in LIMIT_SPECS:
            return _limit_failure(ending, failure.hit, stderr=stderr, summary=failure.summary)
        kind = ExecRunnerError  # an unknown limit: the program has forged the answer
    assert issubclass(kind, ExecRunnerError)
    return kind(
        failure.summary,
        stderr=stderr,
        returncode=failure.returncode,
        output=ending.output,
        metrics=ending.metrics,
    )


def _limit_failure(ending: Ending, hit: LimitHit, *, stderr: str, summary: str = "") -> LimitExceededError:
    spec = LIMIT_SPECS[hit.name]
    return spec.error(
        _limit_message(spec, hit, summary),
        stderr=stderr,
        hit=hit,
        output=ending.output,
        metrics=ending.metrics,
    )


def _limit_message(spec: LimitSpec, hit: LimitHit, summary: str) -> str:
    limit = _amount(hit.name, hit.limit)
    if hit.measured is None:
        return f"was refused more than {spec.amount.format(limit)}: {summary}"
    measured = _amount(hit.name, hit.measured)
    if measured == limit:  # both numbers are rounded to the same text
        measured = f"more than {limit}"
    return f"{spec.verb} {spec.amount.format(measured)}, limit {limit}"


def _amount(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return bytes_text(value)
    text = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{text} s" if name.endswith("_s") else text


def _error_of_ending(ending: Ending, deadline_s: float, queue_timeout_s: float | None) -> GigaexecError:
    if ending.kind is EndingKind.TIMED_OUT:
        return CallTimeoutError(
            f"timed out after {deadline_s:g} s",
            deadline_s=deadline_s,
            run_time_s=ending.run_time_s,
            output=ending.output,
            metrics=ending.metrics,
        )
    if ending.kind is EndingKind.WORKER_DIED:
        return _crash(ending)
    if ending.kind is EndingKind.CANCELLED:
        return CallCancelledError(ending.message, output=ending.output, metrics=ending.metrics)
    if ending.kind is EndingKind.QUEUE_TIMED_OUT:
        return QueueTimeoutError(
            f"no worker was free within queue_timeout_s = {queue_timeout_s:g} s; the call never ran"
        )
    if ending.kind is EndingKind.POOL_FAILED:
        return InfrastructureError(ending.message)
    if ending.kind is EndingKind.ANSWER_LOST:
        return AnswerLostError(ending.message)
    return WorkerStartError(ending.message)


def _crash(ending: Ending) -> WorkerCrashedError:
    code = ending.exit_code
    signal_name = _signal_name(code)
    if ending.message:
        message = f"{ending.message}; the worker process was ended"
    elif code is not None and code < 0:
        message = f"killed by {signal_name}"
    elif code is not None:
        message = f"exited with code {code} before it returned"
    else:
        message = (
            "the worker process ended before it returned; exit code unknown: the process that would have "
            "reported it died too, or this application ignores SIGCHLD or waits for any child"
        )
    return WorkerCrashedError(
        message,
        stderr=ending.output.as_report(),
        returncode=code,
        signal_name=signal_name,
        output=ending.output,
        metrics=ending.metrics,
    )


def _signal_name(exit_code: int | None) -> str | None:
    if exit_code is None or exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-exit_code}"
