"""Every error that gigaexec raises, and the outcome status of each error.

The branches of the tree say whose fault an error is.

    GigaexecError
    ├── CallError                      the fault of the call
    │   ├── ExecRunnerError              the program failed: an exception, bad syntax, an exit
    │   │   ├── ValueNotPicklableError     the return value cannot be encoded in the worker
    │   │   ├── ValueNotReadableError      the return value cannot be decoded, or rebuilt from its pickle
    │   │   ├── WorkerCrashedError         the worker ended: a signal, os._exit, a closed channel
    │   │   └── LimitExceededError         the call hit a limit; one class for each limit:
    │   │       ├── MemoryExceededError  ├── CpuTimeExceededError    ├── ProcessesExceededError
    │   │       ├── OutputExceededError  ├── OpenFilesExceededError  ├── FileSizeExceededError
    │   │       └── ResultExceededError  └── ScratchExceededError
    │   ├── CallTimeoutError             the call ran longer than its deadline (also a TimeoutError)
    │   └── CallCancelledError           the call was cancelled, or the backend was shut down
    ├── ConfigurationError             the fault of the caller             (also a ValueError)
    │   ├── InvalidCallError             a field of the wrong type, an unpicklable argument (also a TypeError)
    │   ├── SpillDirectoryError          the spill directory cannot be used
    │   ├── MissingExtraError            an optional part is not installed (also an ImportError)
    │   └── UnsupportedPlatformError     Windows; ForkserverBackend on anything but Linux
    └── InfrastructureError            the fault of gigaexec or the machine (also a RuntimeError)
        ├── WorkerStartError             a worker process did not start: the call never ran
        ├── AnswerLostError              the program ran, and the driver could not receive its answer
        ├── QueueTimeoutError            no worker was free within queue_timeout_s
        ├── SandboxError                 a required step of the sandbox is not in force on this machine
        ├── LimitNotAppliedError         a limit cannot be enforced on this machine
        ├── SpillError                   a result could not be written or read: disk full, file gone
        └── BackendClosedError           the backend was used while the interpreter was exiting

`QueueTimeoutError` is not a `TimeoutError`: a caller may score each `TimeoutError` as a failure of the
program, and a busy pool is not the program's fault.

Every error can be pickled, because its constructor takes only a message and keywords with defaults.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from gigaexec.measured import CapturedOutput, ExecutionMetrics, LimitHit


class OutcomeStatus(enum.StrEnum):
    """Final state of a call. All backends use these statuses."""

    OK = "ok"
    """The call returned, and the driver has read the value."""
    ERROR = "error"
    """The program failed: an exception, a syntax error, an exit, a value that cannot be sent or read."""
    TIMED_OUT = "timed_out"
    """The call ran longer than its deadline."""
    CRASHED = "crashed"
    """The worker process ended: a signal, `os._exit`, a closed channel."""
    MEMORY_EXCEEDED = "memory_exceeded"
    """The call's processes used more memory than the limit, or the kernel refused them more."""
    OUTPUT_EXCEEDED = "output_exceeded"
    """The call wrote more to stdout and stderr than the limit."""
    CPU_TIME_EXCEEDED = "cpu_time_exceeded"
    """The call used more CPU time than the limit."""
    PROCESSES_EXCEEDED = "processes_exceeded"
    """The call had more processes at once than the limit."""
    OPEN_FILES_EXCEEDED = "open_files_exceeded"
    """A process of the call tried to open more files than the limit."""
    FILE_SIZE_EXCEEDED = "file_size_exceeded"
    """A process of the call tried to write a file larger than the limit."""
    RESULT_EXCEEDED = "result_exceeded"
    """The return value is larger than the limit."""
    SCRATCH_EXCEEDED = "scratch_exceeded"
    """The call wrote more to its scratch folder than the limit."""
    CANCELLED = "cancelled"
    """The caller cancelled the call, or the backend was shut down."""
    INFRASTRUCTURE = "infrastructure"
    """gigaexec or the machine failed: no worker started, the disk is full, no worker was free in time."""

    @property
    def is_inconclusive(self) -> bool:
        """True if the status is no verdict on the program. Never score such a call as a failed program."""
        return self in (OutcomeStatus.INFRASTRUCTURE, OutcomeStatus.CANCELLED)


class GigaexecError(Exception):
    """Base of all errors of gigaexec."""

    status: ClassVar[OutcomeStatus] = OutcomeStatus.INFRASTRUCTURE
    """Status of an outcome that contains this error."""

    @property
    def is_inconclusive(self) -> bool:
        """True if the error is no verdict on the program. Never score it as a failure of the program."""
        return self.status.is_inconclusive

    @property
    def summary(self) -> str:
        """First line of the message, or the class name if the message is empty."""
        text = str(self.args[0]).strip() if self.args else ""
        return text.splitlines()[0] if text else type(self).__name__


class CallError(GigaexecError):
    """The call failed, or was cancelled.

    Args:
        message: One or more lines of facts.
        output: Output that the program wrote until it ended; None if the program never ran.
        metrics: Cost of the call; None if unknown.
    """

    status = OutcomeStatus.ERROR

    def __init__(
        self,
        message: str = "",
        *,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message)
        self.output = output
        self.metrics = metrics


class ExecRunnerError(CallError):
    """The program failed.

    Args:
        message: The failure in one line. `str()` of the error is this line, followed by `stderr`.
        stderr: The traceback and code context, then the captured output.
        returncode: The exit status; negative for a signal, as in `subprocess`. None if it is unknown, which
            only a `WorkerCrashedError` reports.
        output: Output that the program wrote until it ended; None if the program never ran.
        metrics: Cost of the call; None if unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        stderr: str = "",
        returncode: int | None = 1,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message, output=output, metrics=metrics)
        self.stderr = stderr
        self.returncode = returncode

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message}\n{self.stderr}" if self.stderr else message


class ValueNotPicklableError(ExecRunnerError):
    """The return value cannot be encoded: it cannot be pickled, or the required data format refuses it.

    The message names the part of the value that cannot be encoded, and the reason.
    """


class ValueNotReadableError(ExecRunnerError):
    """The return value cannot be decoded: its bytes are malformed, or decoding raised or took too long.

    A value that was pickled is first rebuilt in its own worker. The message says in which process it failed.
    """


class WorkerCrashedError(ExecRunnerError):
    """The worker process ended during the call.

    Args:
        message: The failure in one line. `str()` of the error is this line, followed by `stderr`.
        stderr: The captured output. After a fatal signal, the traceback of faulthandler is part of it.
        returncode: The exit code, or -N if signal N ended the process; None if it is unknown.
        signal_name: Name of the signal, such as "SIGSEGV"; None if no signal ended the process.
        output: Output that the program wrote until it ended; None if the program never ran.
        metrics: Cost of the call; None if unknown.
    """

    status = OutcomeStatus.CRASHED

    def __init__(
        self,
        message: str = "",
        *,
        stderr: str = "",
        returncode: int | None = None,
        signal_name: str | None = None,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message, stderr=stderr, returncode=returncode, output=output, metrics=metrics)
        self.signal_name = signal_name


class LimitExceededError(ExecRunnerError):
    """The call hit one of its limits: gigaexec measured more than the limit, or the kernel refused more.

    Each limit has a subclass with its own status.

    Args:
        message: One line with the measured amount and the limit. `str()` of the error is this line, followed
            by `stderr`.
        stderr: The captured output, preceded by the traceback if an exception ended the call.
        returncode: Always 1.
        hit: Name and value of the limit, and the measured amount.
        output: Output that the program wrote until it ended; None if the program never ran.
        metrics: Cost of the call; None if unknown.
    """

    def __init__(
        self,
        message: str = "",
        *,
        stderr: str = "",
        returncode: int = 1,
        hit: LimitHit | None = None,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message, stderr=stderr, returncode=returncode, output=output, metrics=metrics)
        self.hit = hit


class MemoryExceededError(LimitExceededError):
    """The call's processes used more memory than `Limits.memory_bytes`, or the kernel refused them more."""

    status = OutcomeStatus.MEMORY_EXCEEDED


class CpuTimeExceededError(LimitExceededError):
    """The call's processes together used more CPU time than `Limits.cpu_time_s`."""

    status = OutcomeStatus.CPU_TIME_EXCEEDED


class ProcessesExceededError(LimitExceededError):
    """The call had more processes at once than `Limits.processes`."""

    status = OutcomeStatus.PROCESSES_EXCEEDED


class OutputExceededError(LimitExceededError):
    """The call wrote more to stdout and stderr than `Limits.output_bytes`."""

    status = OutcomeStatus.OUTPUT_EXCEEDED


class OpenFilesExceededError(LimitExceededError):
    """A process of the call tried to have more than `Limits.open_files` files open."""

    status = OutcomeStatus.OPEN_FILES_EXCEEDED


class FileSizeExceededError(LimitExceededError):
    """A process of the call tried to write a file larger than `Limits.file_size_bytes`."""

    status = OutcomeStatus.FILE_SIZE_EXCEEDED


class ResultExceededError(LimitExceededError):
    """The return value is larger than `Limits.result_bytes`."""

    status = OutcomeStatus.RESULT_EXCEEDED


class ScratchExceededError(LimitExceededError):
    """The call wrote more to its scratch folder than `Limits.scratch_bytes`."""

    status = OutcomeStatus.SCRATCH_EXCEEDED


class CallTimeoutError(CallError, TimeoutError):
    """The call ran longer than its deadline, and the worker was killed.

    Args:
        message: The failure in one line. `str()` of the error is this line, followed by the captured output.
        deadline_s: The deadline, seconds.
        run_time_s: Seconds that the call had run when it was killed.
        output: Output that the program wrote until it was killed; None if unknown.
        metrics: Cost of the call; None if unknown.
    """

    status = OutcomeStatus.TIMED_OUT

    def __init__(
        self,
        message: str = "",
        *,
        deadline_s: float = 0.0,
        run_time_s: float = 0.0,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message, output=output, metrics=metrics)
        self.deadline_s = deadline_s
        self.run_time_s = run_time_s

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message}\n{self.output.as_report()}" if self.output else message


class CallCancelledError(CallError):
    """The call was cancelled, or the backend was shut down before the call ended."""

    status = OutcomeStatus.CANCELLED


class ConfigurationError(GigaexecError, ValueError):
    """An argument or a setting of the caller cannot be used. Nothing was started."""


class InvalidCallError(ConfigurationError, TypeError):
    """A call is malformed. The message names the field and the expected value.

    The status is error, as for a failure of the program: among many calls, an invalid one typically has an
    argument that came from a program, such as a value that was unpickled but cannot be pickled again.
    """

    status = OutcomeStatus.ERROR


class SpillDirectoryError(ConfigurationError):
    """The spill directory cannot be used. The message contains the reason and what to do."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional part of gigaexec is not installed. The message names the extra to install."""


class UnsupportedPlatformError(ConfigurationError):
    """gigaexec, or the chosen backend, does not run on this platform."""


class InfrastructureError(GigaexecError, RuntimeError):
    """gigaexec or the machine failed. Never score this as a failure of the program."""


class WorkerStartError(InfrastructureError):
    """A worker process did not start. The message contains the output of the process. The call never ran."""


class AnswerLostError(InfrastructureError):
    """The program ran, and the driver could not receive its answer. A retry runs the program again."""


class QueueTimeoutError(InfrastructureError):
    """No worker was free within `queue_timeout_s`. The call never ran."""


class SandboxError(InfrastructureError):
    """A required step of the sandbox is not in force on this machine. The program did not run."""


class LimitNotAppliedError(InfrastructureError):
    """A limit cannot be enforced on this machine. The program did not run."""


class SpillError(InfrastructureError):
    """A result could not be written to the spill directory, or read from it."""


class BackendClosedError(InfrastructureError):
    """The backend was used while the interpreter was exiting."""
