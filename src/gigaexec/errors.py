"""Every error that gigaexec raises, and the status that each gives to an outcome.

The branches of the tree say whose fault the error is.

    GigaexecError
    ├── CallError                      the call's
    │   ├── ExecRunnerError              the program failed: an exception, bad syntax, an exit
    │   │   ├── ValueNotPicklableError     its return value cannot be pickled, or is not plain data
    │   │   ├── ValueNotReadableError      its return value cannot be read in the driver
    │   │   ├── WorkerCrashedError         its process ended: a signal, os._exit, a closed channel
    │   │   └── LimitExceededError         it hit one of its limits:
    │   │       ├── MemoryExceededError  ├── CpuTimeExceededError    ├── ProcessesExceededError
    │   │       ├── OutputExceededError  ├── OpenFilesExceededError  ├── FileSizeExceededError
    │   │       └── ResultExceededError  └── ScratchExceededError
    │   ├── CallTimeoutError             it ran longer than its deadline   (also a TimeoutError)
    │   └── CallCancelledError           it was cancelled, or the backend was shut down
    ├── ConfigurationError             the caller's                        (also a ValueError)
    │   ├── InvalidCallError             a field of the wrong type, an unpicklable argument (also a TypeError)
    │   ├── SpillDirectoryError          the spill directory cannot be used
    │   ├── MissingExtraError            an optional part is not installed (also an ImportError)
    │   └── UnsupportedPlatformError     Windows; ForkserverBackend on anything but Linux
    └── InfrastructureError            gigaexec's or the machine's         (also a RuntimeError)
        ├── WorkerStartError             a worker process did not start: the call never ran
        ├── AnswerLostError              the program ran, and the driver could not receive its answer
        ├── QueueTimeoutError            no worker was free within queue_timeout_s
        ├── SandboxError                 a required step of the sandbox is not in force on this machine
        ├── LimitNotAppliedError         a limit cannot be enforced on this machine
        ├── SpillError                   a result could not be written or read: disk full, file gone
        └── BackendClosedError           used while the interpreter exits

`QueueTimeoutError` is not a `TimeoutError`: code that counts a `TimeoutError` against the program must not
count a busy pool against it.

Every error survives pickling: a constructor takes a message and keywords with defaults, nothing else.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from gigaexec.measured import CapturedOutput, ExecutionMetrics, LimitHit


class OutcomeStatus(enum.StrEnum):
    """The end of a call, in one word. Every backend uses the same statuses."""

    OK = "ok"
    """The call returned, and its value was read."""
    ERROR = "error"
    """The program failed: an exception, a syntax error, an exit, a value that cannot be sent or read."""
    TIMED_OUT = "timed_out"
    """The call ran longer than its deadline."""
    CRASHED = "crashed"
    """The worker process ended: a signal, `os._exit`, a closed channel."""
    MEMORY_EXCEEDED = "memory_exceeded"
    """The call's processes held more memory than the limit, or were refused more."""
    OUTPUT_EXCEEDED = "output_exceeded"
    """The call wrote more to stdout and stderr than the limit."""
    CPU_TIME_EXCEEDED = "cpu_time_exceeded"
    """The call used more CPU time than the limit."""
    PROCESSES_EXCEEDED = "processes_exceeded"
    """The call had more processes at once than the limit."""
    OPEN_FILES_EXCEEDED = "open_files_exceeded"
    """A process of the call was refused another open file."""
    FILE_SIZE_EXCEEDED = "file_size_exceeded"
    """A process of the call was refused a write above the largest file size."""
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
        """True if the status is no verdict on the program: never score the call as the program's failure."""
        return self in (OutcomeStatus.INFRASTRUCTURE, OutcomeStatus.CANCELLED)


class GigaexecError(Exception):
    """Base of all errors of gigaexec."""

    status: ClassVar[OutcomeStatus] = OutcomeStatus.INFRASTRUCTURE
    """The status of an outcome with this error."""

    @property
    def is_inconclusive(self) -> bool:
        """True if the error is no verdict on the program: never score it as the program's failure."""
        return self.status.is_inconclusive

    @property
    def summary(self) -> str:
        """First line of the message, without captured output and traceback; the class name if it is empty."""
        text = str(self.args[0]).strip() if self.args else ""
        return text.splitlines()[0] if text else type(self).__name__


class CallError(GigaexecError):
    """The call failed, or was cancelled.

    Args:
        message: One or more lines of facts.
        output: Output that the program wrote until it ended; None if it never ran.
        metrics: Cost of the call; None if it is not known.
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
        message: The failure in one line. `str()` adds `stderr` to it.
        stderr: The traceback and code context, then the captured output.
        returncode: The exit status; negative for a signal, as in `subprocess`.
        output: Output that the program wrote until it ended; None if it never ran.
        metrics: Cost of the call; None if it is not known.
    """

    def __init__(
        self,
        message: str = "",
        *,
        stderr: str = "",
        returncode: int = 1,
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
    """The return value cannot be pickled, or is not plain data although results must be.

    The message names the part of the value and the reason.
    """


class ValueNotReadableError(ExecRunnerError):
    """The return value raised an exception when the driver decoded it, or its bytes are malformed."""


class WorkerCrashedError(ExecRunnerError):
    """The worker process ended during the call.

    `returncode` is the exit code, or minus the signal's number. `stderr` holds the captured output, with
    faulthandler's traceback after a fatal signal.

    Args:
        message: The failure in one line. `str()` adds `stderr` to it.
        stderr: The captured output.
        returncode: The exit code, or minus the signal's number; 1 if it is not known.
        signal_name: Name of the signal, such as "SIGSEGV"; None if no signal ended the process.
        output: Output that the program wrote until it ended; None if it never ran.
        metrics: Cost of the call; None if it is not known.
    """

    status = OutcomeStatus.CRASHED

    def __init__(
        self,
        message: str = "",
        *,
        stderr: str = "",
        returncode: int = 1,
        signal_name: str | None = None,
        output: CapturedOutput | None = None,
        metrics: ExecutionMetrics | None = None,
    ) -> None:
        super().__init__(message, stderr=stderr, returncode=returncode, output=output, metrics=metrics)
        self.signal_name = signal_name


class LimitExceededError(ExecRunnerError):
    """The call hit one of its limits: gigaexec measured the excess, or the kernel refused it.

    Each limit has a class of its own, with a status of its own; `Limits` says which.

    Args:
        message: The measured amount and the limit, in one line. `str()` adds `stderr` to it.
        stderr: The traceback if an exception ended the call, then the captured output.
        returncode: Always 1.
        hit: Name and value of the limit, and the measured amount.
        output: Output that the program wrote until it ended; None if it never ran.
        metrics: Cost of the call; None if it is not known.
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
    """The call's processes together held more memory than `Limits.memory_bytes`, or were refused more."""

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
    """A process of the call was refused an open file above `Limits.open_files`."""

    status = OutcomeStatus.OPEN_FILES_EXCEEDED


class FileSizeExceededError(LimitExceededError):
    """A process of the call was refused a write to a file above `Limits.file_size_bytes`."""

    status = OutcomeStatus.FILE_SIZE_EXCEEDED


class ResultExceededError(LimitExceededError):
    """The return value is larger than `Limits.result_bytes`."""

    status = OutcomeStatus.RESULT_EXCEEDED


class ScratchExceededError(LimitExceededError):
    """The call wrote more to its scratch folder than `Limits.scratch_bytes`."""

    status = OutcomeStatus.SCRATCH_EXCEEDED


class CallTimeoutError(CallError, TimeoutError):
    """The call ran longer than its deadline; its worker was killed.

    Args:
        message: The failure in one line. `str()` adds the captured output to it.
        deadline_s: The deadline, seconds.
        run_time_s: Seconds that the call had run when it was killed.
        output: Output that the program wrote until it was killed; None if it is not known.
        metrics: Cost of the call; None if it is not known.
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
    """The call was cancelled, or its backend was shut down before it ended."""

    status = OutcomeStatus.CANCELLED


class ConfigurationError(GigaexecError, ValueError):
    """An argument or a setting of the caller cannot be used. Nothing was started."""


class InvalidCallError(ConfigurationError, TypeError):
    """A call is malformed; the message names the field and says what to give instead.

    It counts as the program's failure, not as the caller's: of many calls, the invalid ones are those whose
    arguments come from a program, such as a value that was unpickled but cannot be pickled again.
    """

    status = OutcomeStatus.ERROR


class SpillDirectoryError(ConfigurationError):
    """The spill directory cannot be used; the message says why and what to do."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional part of gigaexec is not installed; the message names the extra."""


class UnsupportedPlatformError(ConfigurationError):
    """gigaexec, or the chosen backend, does not run on this platform."""


class InfrastructureError(GigaexecError, RuntimeError):
    """gigaexec or the machine failed. This is no verdict on the program: do not score it."""


class WorkerStartError(InfrastructureError):
    """A worker process did not start; the message holds its output. The call never ran."""


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
    """The backend was used while the interpreter exits."""
