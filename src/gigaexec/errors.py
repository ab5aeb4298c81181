"""Every error that gigaexec raises. Its branches say whose fault it is.

    GigaexecError
    ├── CallError                      the call's
    │   ├── ExecRunnerError              the program failed: an exception, bad syntax, an exit
    │   │   ├── ValueNotPicklableError     its return value cannot be pickled, or is no plain data
    │   │   ├── ValueNotReadableError      its return value cannot be read in the driver
    │   │   ├── WorkerCrashedError         its process ended: a signal, os._exit, a closed channel
    │   │   └── LimitExceededError         it hit one of its limits:
    │   │       ├── MemoryExceededError  ├── CpuTimeExceededError    ├── ProcessesExceededError
    │   │       ├── OutputExceededError  ├── OpenFilesExceededError  ├── FileSizeExceededError
    │   │       └── ResultExceededError  └── ScratchExceededError
    │   ├── CallTimeoutError             it ran longer than its deadline   (also a TimeoutError)
    │   └── CallCancelledError           withdrawn, or the backend was shut down
    ├── ConfigurationError             the caller's                        (also a ValueError)
    │   ├── InvalidCallError             a field of the wrong type, an unpicklable argument (also a TypeError)
    │   ├── SpillDirectoryError          the spill directory cannot be used
    │   ├── MissingExtraError            an optional part is not installed (also an ImportError)
    │   └── UnsupportedPlatformError     Windows; ForkserverBackend on anything but Linux
    └── InfrastructureError            gigaexec's or the machine's         (also a RuntimeError)
        ├── WorkerStartError             a worker process did not start: the call never ran
        ├── AnswerLostError              the program ran, and the driver could not receive its answer
        ├── QueueTimeoutError            no worker was free within queue_timeout_s
        ├── SandboxError                 a step of the sandbox that is required does not hold here
        ├── LimitNotAppliedError         a limit cannot be enforced on this machine
        ├── SpillError                   a result could not be written or read: disk full, file gone
        └── BackendClosedError           used while the interpreter exits

`QueueTimeoutError` is no `TimeoutError`: code that counts a `TimeoutError` against the program must not
count a busy pool against it.

Each survives pickling: a constructor takes a message and keywords with defaults, nothing else.
"""

from __future__ import annotations

from gigaexec.measured import CapturedOutput, ExecutionMetrics, LimitHit


class GigaexecError(Exception):
    """Base of all errors of gigaexec."""


class CallError(GigaexecError):
    """The call failed, or did not end.

    Args:
        message: One or more lines of facts.
        output: What the program wrote before it ended; None where it never ran.
        metrics: What the call cost; None where that is not known.
    """

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

    @property
    def summary(self) -> str:
        """The message without captured output and traceback: one line for a table or a log."""
        text = str(self.args[0]).strip() if self.args else ""
        return text.splitlines()[0] if text else type(self).__name__


class ExecRunnerError(CallError):
    """The program failed.

    Args:
        message: What happened, in a line. `str()` adds `stderr` to it.
        stderr: The traceback and code context, then the captured output.
        returncode: The exit status; negative for a signal, as in `subprocess`.
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
    """The function returned a value that cannot be pickled, or, where a sandbox asks for plain data, that is
    none; the message says which and why.
    """


class ValueNotReadableError(ExecRunnerError):
    """The value raised when the driver unpickled it, or what came is no value that a worker sends."""


class WorkerCrashedError(ExecRunnerError):
    """The worker process ended during the call.

    `returncode` is the exit code, or minus the signal's number. `stderr` holds the captured output, with
    faulthandler's traceback after a fatal signal.

    Args:
        signal_name: "SIGSEGV" and the like, or None where the process exited by itself.
    """

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
    """The call hit one of its limits, as measured by gigaexec or refused by the system for it.

    Args:
        hit: Which limit, its value and what was measured.
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
    """Its processes together held more memory than `Limits.memory_bytes`, or were refused more."""


class CpuTimeExceededError(LimitExceededError):
    """Its processes together used more CPU time than `Limits.cpu_time_s`."""


class ProcessesExceededError(LimitExceededError):
    """It had more processes at once than `Limits.processes`."""


class OutputExceededError(LimitExceededError):
    """It wrote more to stdout and stderr than `Limits.output_bytes`."""


class OpenFilesExceededError(LimitExceededError):
    """It was refused a descriptor beyond `Limits.open_files`."""


class FileSizeExceededError(LimitExceededError):
    """It was refused to write a file beyond `Limits.file_size_bytes`."""


class ResultExceededError(LimitExceededError):
    """Its return value is larger than `Limits.result_bytes`."""


class ScratchExceededError(LimitExceededError):
    """It wrote more to its scratch folder than `Limits.scratch_bytes`."""


class CallTimeoutError(CallError, TimeoutError):
    """The call ran longer than its deadline; its worker was killed.

    Args:
        deadline_s: The deadline, seconds.
        run_time_s: How long it had run when it was killed, seconds.
    """

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
    """The call was withdrawn, or its backend was shut down before it ended."""


class ConfigurationError(GigaexecError, ValueError):
    """Something that the caller gave cannot be used. Nothing was started."""


class InvalidCallError(ConfigurationError, TypeError):
    """A call is malformed; the message names the field and what to give instead."""


class SpillDirectoryError(ConfigurationError):
    """The spill directory cannot be used; the message says why and what to do."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional part of gigaexec is not installed; the message names the extra."""


class UnsupportedPlatformError(ConfigurationError):
    """gigaexec, or the backend that was asked for, does not run on this platform."""


class InfrastructureError(GigaexecError, RuntimeError):
    """gigaexec or the machine failed. It says nothing about the program: do not score it."""


class WorkerStartError(InfrastructureError):
    """A worker process did not start; the message holds what it wrote."""


class AnswerLostError(InfrastructureError):
    """The program ran, and the driver could not receive its answer. Another call runs it a second time."""


class QueueTimeoutError(InfrastructureError):
    """No worker was free within `queue_timeout_s`. The call never ran."""


class SandboxError(InfrastructureError):
    """The sandbox that was asked for is not to be had on this machine. The program did not run."""


class LimitNotAppliedError(InfrastructureError):
    """A limit cannot be enforced on this machine. The program did not run."""


class SpillError(InfrastructureError):
    """A result could not be written to the spill directory, or read from it."""


class BackendClosedError(InfrastructureError):
    """The backend was used while its interpreter exits."""
