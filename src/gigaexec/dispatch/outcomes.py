"""From how a job ended to the `Outcome` that the caller gets."""

from __future__ import annotations

import signal
from typing import Any

from gigaexec.calls import CapturedOutput, ErrorKind, Outcome, OutcomeStatus, WorkerResult
from gigaexec.dispatch.jobs import Ending, EndingKind
from gigaexec.errors import (
    CallCancelledError,
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
    InfrastructureError,
    QueueTimeoutError,
    SpillError,
    ValueNotPicklableError,
    WorkerCrashedError,
    WorkerStartError,
)

_STATUS_OF_ENDING = {
    EndingKind.TIMED_OUT: OutcomeStatus.TIMED_OUT,
    EndingKind.WORKER_DIED: OutcomeStatus.CRASHED,
    EndingKind.CANCELLED: OutcomeStatus.CANCELLED,
    EndingKind.QUEUE_TIMED_OUT: OutcomeStatus.INFRASTRUCTURE,
    EndingKind.NOT_STARTED: OutcomeStatus.INFRASTRUCTURE,
    EndingKind.POOL_FAILED: OutcomeStatus.INFRASTRUCTURE,
}


def successful_outcome(ending: Ending, value: Any) -> Outcome:
    """The outcome of a call whose value was read."""
    return _outcome(ending, OutcomeStatus.OK, value, None)


def failed_outcome(
    ending: Ending,
    *,
    deadline_s: float,
    queue_timeout_s: float | None,
    unreadable: GigaexecError | None = None,
) -> Outcome:
    """The outcome of a call that has no value.

    Args:
        ending: How it ended.
        deadline_s: Its deadline, for the message.
        queue_timeout_s: Its limit in the queue, for the message.
        unreadable: Why the value that the worker sent could not be read.
    """
    if ending.kind is EndingKind.ANSWERED:
        assert ending.result is not None
        error = unreadable or _error_of_result(ending.result, ending.output)
        is_infrastructure = isinstance(error, SpillError)
        status = OutcomeStatus.INFRASTRUCTURE if is_infrastructure else OutcomeStatus.ERROR
    else:
        error = _error_of_ending(ending, deadline_s, queue_timeout_s)
        status = _STATUS_OF_ENDING[ending.kind]
    return _outcome(ending, status, None, error)


def _outcome(ending: Ending, status: OutcomeStatus, value: Any, error: GigaexecError | None) -> Outcome:
    return Outcome(
        status=status,
        value=value,
        error=error,
        output=ending.output,
        metrics=ending.result.metrics if ending.result is not None else None,
        queue_time_s=ending.queue_time_s,
        start_time_s=ending.start_time_s,
        run_time_s=ending.run_time_s,
    )


def _error_of_result(result: WorkerResult, output: CapturedOutput) -> GigaexecError:
    failure = result.error
    assert failure is not None
    if failure.kind is ErrorKind.SPILL:
        return SpillError(failure.summary)
    kind = ValueNotPicklableError if failure.kind is ErrorKind.VALUE else ExecRunnerError
    return kind(
        failure.summary,
        stderr=_with_output(failure.stderr, output),
        returncode=failure.returncode,
        output=output,
        metrics=result.metrics,
    )


def _with_output(text: str, output: CapturedOutput) -> str:
    return f"{text.rstrip()}\n\n{output.as_report()}" if output else text


def _error_of_ending(ending: Ending, deadline_s: float, queue_timeout_s: float | None) -> GigaexecError:
    if ending.kind is EndingKind.TIMED_OUT:
        return CallTimeoutError(
            f"the call ran longer than its deadline of {deadline_s:g} s and was killed",
            deadline_s=deadline_s,
            run_time_s=ending.run_time_s,
            output=ending.output,
        )
    if ending.kind is EndingKind.WORKER_DIED:
        return _crash(ending)
    if ending.kind is EndingKind.CANCELLED:
        return CallCancelledError(ending.message, output=ending.output)
    if ending.kind is EndingKind.QUEUE_TIMED_OUT:
        return QueueTimeoutError(
            f"no worker was free within queue_timeout_s = {queue_timeout_s:g} s; the call never ran"
        )
    if ending.kind is EndingKind.POOL_FAILED:
        return InfrastructureError(ending.message)
    return WorkerStartError(ending.message)


def _crash(ending: Ending) -> WorkerCrashedError:
    code = ending.exit_code
    signal_name = _signal_name(code)
    if ending.message:
        message = f"{ending.message}; the worker process was ended"
    elif signal_name is not None:
        message = f"the worker process was killed by {signal_name} (signal {-(code or 0)})"
    elif code is not None:
        message = f"the worker process exited with code {code} during the call"
    else:
        message = (
            "the worker process ended during the call; its exit code is unknown, because this process "
            "ignores SIGCHLD or waits for any child"
        )
    return WorkerCrashedError(
        message,
        stderr=ending.output.as_report(),
        returncode=code if code is not None else 1,
        signal_name=signal_name,
        output=ending.output,
    )


def _signal_name(exit_code: int | None) -> str | None:
    if exit_code is None or exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {-exit_code}"
