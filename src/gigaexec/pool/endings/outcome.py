"""From how a job ended to the `Outcome` that the caller gets."""

from __future__ import annotations

import signal
from typing import Any

from gigaexec.calls import ErrorKind, LimitHit, Outcome, OutcomeStatus
from gigaexec.errors import (
    AnswerLostError,
    CallCancelledError,
    CallTimeoutError,
    CpuTimeExceededError,
    ExecRunnerError,
    FileSizeExceededError,
    GigaexecError,
    InfrastructureError,
    LimitExceededError,
    LimitNotAppliedError,
    MemoryExceededError,
    OpenFilesExceededError,
    OutputExceededError,
    ProcessesExceededError,
    QueueTimeoutError,
    ResultExceededError,
    SandboxError,
    ScratchExceededError,
    SpillError,
    ValueNotPicklableError,
    WorkerCrashedError,
    WorkerStartError,
)
from gigaexec.pool.jobs import Ending, EndingKind

_STATUS_OF_ENDING = {
    EndingKind.TIMED_OUT: OutcomeStatus.TIMED_OUT,
    EndingKind.WORKER_DIED: OutcomeStatus.CRASHED,
    EndingKind.CANCELLED: OutcomeStatus.CANCELLED,
    EndingKind.QUEUE_TIMED_OUT: OutcomeStatus.INFRASTRUCTURE,
    EndingKind.NOT_STARTED: OutcomeStatus.INFRASTRUCTURE,
    EndingKind.ANSWER_LOST: OutcomeStatus.INFRASTRUCTURE,
    EndingKind.POOL_FAILED: OutcomeStatus.INFRASTRUCTURE,
}

_OF_LIMIT: dict[str, tuple[OutcomeStatus, type[LimitExceededError], str]] = {
    "memory_bytes": (OutcomeStatus.MEMORY_EXCEEDED, MemoryExceededError, "bytes of memory"),
    "cpu_time_s": (OutcomeStatus.CPU_TIME_EXCEEDED, CpuTimeExceededError, "CPU seconds"),
    "processes": (OutcomeStatus.PROCESSES_EXCEEDED, ProcessesExceededError, "processes"),
    "open_files": (OutcomeStatus.OPEN_FILES_EXCEEDED, OpenFilesExceededError, "open files"),
    "file_size_bytes": (OutcomeStatus.FILE_SIZE_EXCEEDED, FileSizeExceededError, "bytes in a file"),
    "output_bytes": (OutcomeStatus.OUTPUT_EXCEEDED, OutputExceededError, "bytes of output"),
    "result_bytes": (OutcomeStatus.RESULT_EXCEEDED, ResultExceededError, "bytes of result"),
    "scratch_bytes": (OutcomeStatus.SCRATCH_EXCEEDED, ScratchExceededError, "bytes of scratch space"),
}

# What a worker reports that says nothing about the program.
_INFRASTRUCTURE_OF_KIND: dict[ErrorKind, type[InfrastructureError]] = {
    ErrorKind.SPILL: SpillError,
    ErrorKind.SETUP: LimitNotAppliedError,
    ErrorKind.SANDBOX: SandboxError,
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
    error: GigaexecError
    if ending.kind is EndingKind.LIMIT_HIT:
        assert ending.hit is not None
        status, error = _limit_failure(ending, ending.hit, ending.output.as_report(), "")
    elif ending.kind is EndingKind.ANSWERED:
        status, error = _failure_of_answer(ending, unreadable)
    else:
        status = _STATUS_OF_ENDING[ending.kind]
        error = _error_of_ending(ending, deadline_s, queue_timeout_s)
    return _outcome(ending, status, None, error)


def _outcome(ending: Ending, status: OutcomeStatus, value: Any, error: GigaexecError | None) -> Outcome:
    return Outcome(
        status=status,
        value=value,
        error=error,
        output=ending.output,
        metrics=ending.metrics,
        queue_time_s=ending.queue_time_s,
        start_time_s=ending.start_time_s,
        run_time_s=ending.run_time_s,
        confinement=ending.steps,
    )


def _failure_of_answer(
    ending: Ending, unreadable: GigaexecError | None
) -> tuple[OutcomeStatus, GigaexecError]:
    assert ending.result is not None
    if unreadable is not None:
        is_infrastructure = isinstance(unreadable, InfrastructureError)
        return OutcomeStatus.INFRASTRUCTURE if is_infrastructure else OutcomeStatus.ERROR, unreadable
    failure = ending.result.error
    assert failure is not None
    infrastructure = _INFRASTRUCTURE_OF_KIND.get(failure.kind)
    if infrastructure is not None:
        return OutcomeStatus.INFRASTRUCTURE, infrastructure(failure.summary)
    if failure.kind is ErrorKind.LIMIT and failure.hit is not None and failure.hit.name in _OF_LIMIT:
        stderr = _with_output(failure.stderr, ending)
        return _limit_failure(ending, failure.hit, stderr, failure.summary)
    kind = ValueNotPicklableError if failure.kind is ErrorKind.VALUE else ExecRunnerError
    error = kind(
        failure.summary,
        stderr=_with_output(failure.stderr, ending),
        returncode=failure.returncode,
        output=ending.output,
        metrics=ending.metrics,
    )
    return OutcomeStatus.ERROR, error


def _limit_failure(
    ending: Ending, hit: LimitHit, stderr: str, summary: str
) -> tuple[OutcomeStatus, LimitExceededError]:
    status, kind, unit = _OF_LIMIT[hit.name]
    limit = f"its limit of {hit.limit:,.10g} {unit} ({hit.name})"
    if hit.measured is None:
        message = f"the call was refused what goes beyond {limit}: {summary}"
    else:
        message = f"the call went beyond {limit}: {hit.measured:,.10g} were measured"
    return status, kind(message, stderr=stderr, hit=hit, output=ending.output, metrics=ending.metrics)


def _with_output(text: str, ending: Ending) -> str:
    return f"{text.rstrip()}\n\n{ending.output.as_report()}" if ending.output else text


def _error_of_ending(ending: Ending, deadline_s: float, queue_timeout_s: float | None) -> GigaexecError:
    if ending.kind is EndingKind.TIMED_OUT:
        return CallTimeoutError(
            f"the call ran longer than its deadline of {deadline_s:g} s and was killed",
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
    elif signal_name is not None:
        message = f"the worker process was killed by {signal_name} (signal {-(code or 0)})"
    elif code is not None:
        message = f"the worker process exited with code {code} during the call"
    else:
        message = (
            "the worker process ended during the call; its exit code is unknown: who knows it ended with it, "
            "or an application that ignores SIGCHLD or waits for any child took it away"
        )
    return WorkerCrashedError(
        message,
        stderr=ending.output.as_report(),
        returncode=code if code is not None else 1,
        signal_name=signal_name,
        output=ending.output,
        metrics=ending.metrics,
    )


def _signal_name(exit_code: int | None) -> str | None:
    if exit_code is None or exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {-exit_code}"
