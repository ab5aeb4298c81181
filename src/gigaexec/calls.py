"""The records that cross process boundaries: a call, its result, its outcome.

Everything here is plain data. A `WorkerCall` goes to a worker, a `WorkerResult` comes back, and the
driver turns it into an `Outcome`. Exception objects of user code never travel: their text does.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from typing import Any

from gigaexec.errors import GigaexecError, InvalidCallError
from gigaexec.measured import (
    CapturedOutput as CapturedOutput,
    ConfinementStep as ConfinementStep,
    ExecutionMetrics as ExecutionMetrics,
    LimitHit as LimitHit,
)


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """One call of one function of one program.

    Args:
        code: Python source. It is compiled as a module named `user_code`, file name `user_code.py`.
        function_name: The function of that module to call. Dotted names are not looked into.
        args: Positional arguments. Anything cloudpickle can pickle.
        kwargs: Keyword arguments; the keys are strings.
        python_path: Folders that go to the front of `sys.path` for this call, in this order.
        env: Environment variables for this call alone; `None` as a value unsets the variable.
        seed: What `random` and numpy's global generator are seeded with before the call, from 0 to
            2**64 - 1; `PYTHONHASHSEED` is set to it, modulo 2**32, for processes that the program starts (a
            running interpreter's own hashing cannot be changed). None: a seed is drawn where the process is
            fresh. `ExecutionMetrics.seed` says which it was.

    Raises:
        InvalidCallError: A field has the wrong type. The message names the field and what it was.
    """

    code: str
    function_name: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    python_path: list[str] = field(default_factory=list)
    env: dict[str, str | None] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        _require_type("code", self.code, str, "a string of Python source")
        _require_type("function_name", self.function_name, str, "the name of a function")
        if not self.function_name:
            raise InvalidCallError("function_name is empty; give the name of a function of the code")
        _require_type("args", self.args, list, "a list of positional arguments")
        _require_type("kwargs", self.kwargs, dict, "a dict of keyword arguments")
        for key in self.kwargs:
            _require_type("a key of kwargs", key, str, "a parameter name")
        _require_type("python_path", self.python_path, list, "a list of folder names")
        for index, entry in enumerate(self.python_path):
            _require_type(f"python_path[{index}]", entry, str, "a folder name as a string")
            _require_system_text(f"python_path[{index}]", entry)
        _require_type("env", self.env, dict, "a dict of environment variables")
        for name, value in self.env.items():
            _check_environment_entry(name, value)
        if self.seed is not None:
            _require_seed(self.seed)


def _require_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise InvalidCallError(f"seed must be a whole number from 0 to 2**64 - 1, or None, not {seed!r:.80}")


def _require_type(what: str, value: object, expected: type, description: str) -> None:
    if not isinstance(value, expected):
        raise InvalidCallError(f"{what} must be {description}, not {type(value).__name__}: {value!r:.80}")


def _check_environment_entry(name: object, value: object) -> None:
    _require_type("a name in env", name, str, "a string")
    assert isinstance(name, str)
    if not name or "=" in name or "\0" in name:
        raise InvalidCallError(
            f"env holds the name {name!r}; a name is not empty and holds no '=' and no NUL"
        )
    _require_system_text("a name in env", name)
    if value is not None:
        _require_type(f"env[{name!r}]", value, str, "a string, or None to unset it")
        assert isinstance(value, str)
        _require_system_text(f"env[{name!r}]", value)


def _require_system_text(what: str, text: str) -> None:
    """Refuse what no environment and no path can hold."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidCallError(f"{what} holds a character that the system cannot encode: {error}") from error
    if b"\0" in encoded:
        raise InvalidCallError(f"{what} holds a NUL character: {text!r:.80}")


class ErrorKind(enum.StrEnum):
    """What failed inside a worker that did report back."""

    USER = "user"
    """The program: its syntax, its function, an exception, an exit."""
    VALUE = "value"
    """The program's return value cannot be pickled, or is no plain data where that was asked for."""
    ARGUMENTS = "arguments"
    """The arguments could not be restored in the worker."""
    SPILL = "spill"
    """The result could not be written to the spill directory, for example because the disk is full."""
    LIMIT = "limit"
    """It hit a limit; `WorkerError.hit` says which."""
    SETUP = "setup"
    """A limit could not be applied. The program did not run."""
    SANDBOX = "sandbox"
    """A required step of the sandbox did not hold. The program did not run."""


@dataclass(frozen=True, slots=True)
class WorkerError:
    """A failure inside the worker, as text.

    Args:
        stderr: The formatted traceback with its code context.
        returncode: The exit status that the program asked for with `sys.exit(n)` where n is a
            non-zero int, else 1.
        kind: What failed.
        summary: The failure in one line, such as "ZeroDivisionError: division by zero".
        hit: The limit that was hit, for `ErrorKind.LIMIT`.
    """

    stderr: str
    returncode: int = 1
    kind: ErrorKind = ErrorKind.USER
    summary: str = ""
    hit: LimitHit | None = None


@dataclass(frozen=True, slots=True)
class ValueLayout:
    """Where the parts of an encoded value lie in its bytes, which are inline or in a file.

    Args:
        format: "pickle" or "data".
        head_bytes: Size of the first part: the pickle, or the data.
        buffers: Offset and size of each buffer that the first part refers to, in order.
        total_bytes: Size of it all.
    """

    format: str
    head_bytes: int
    buffers: tuple[tuple[int, int], ...] = ()
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What a worker sends back for one call.

    Args:
        spill_path: The file that holds the value, where it was too large to send inline and the file has a
            name. A file without one travels as an open descriptor.
        error: The failure, or None.
        metrics: What the call cost; also present on failure.
        inline_value: The encoded value itself, where it was small.
        layout: Where the parts of the value lie; None on failure.
        retire_reason: Why this worker must not run another call (leftover threads, say), else "".
        file_number: The worker's descriptor of the file without a name, where it could not be sent.
    """

    spill_path: str | None
    error: WorkerError | None
    metrics: ExecutionMetrics
    inline_value: bytes | None = None
    layout: ValueLayout | None = None
    retire_reason: str = ""
    file_number: int | None = None

    @property
    def peak_rss_kb(self) -> int:
        return self.metrics.peak_rss_kb

    @property
    def wall_time_s(self) -> float:
        return self.metrics.wall_time_s

    @property
    def user_time_s(self) -> float:
        return self.metrics.user_time_s

    @property
    def sys_time_s(self) -> float:
        return self.metrics.sys_time_s

    @property
    def worker_pid(self) -> int:
        return self.metrics.worker_pid

    @property
    def worker_id(self) -> str:
        return self.metrics.worker_id

    @property
    def node_id(self) -> str:
        return self.metrics.node_id


class OutcomeStatus(enum.StrEnum):
    """How a call ended. One vocabulary for every backend.

    Only `INFRASTRUCTURE` and `CANCELLED` say nothing about the program: never score them as its failure.
    """

    OK = "ok"
    ERROR = "error"
    """The program failed: an exception, a syntax error, an exit, a value that cannot be sent or read."""
    TIMED_OUT = "timed_out"
    """It ran longer than its deadline."""
    CRASHED = "crashed"
    """Its process ended: a signal, `os._exit`, a closed channel."""
    MEMORY_EXCEEDED = "memory_exceeded"
    """Its processes held more memory than its limit, or were refused it."""
    OUTPUT_EXCEEDED = "output_exceeded"
    """It wrote more to stdout and stderr than its limit."""
    CPU_TIME_EXCEEDED = "cpu_time_exceeded"
    """It used more CPU time than its limit."""
    PROCESSES_EXCEEDED = "processes_exceeded"
    """It had more processes at once than its limit."""
    OPEN_FILES_EXCEEDED = "open_files_exceeded"
    """It was refused a descriptor beyond its limit."""
    FILE_SIZE_EXCEEDED = "file_size_exceeded"
    """It was refused to write a file beyond its limit."""
    RESULT_EXCEEDED = "result_exceeded"
    """Its return value was larger than its limit."""
    SCRATCH_EXCEEDED = "scratch_exceeded"
    """It wrote more to its scratch folder than its limit."""
    CANCELLED = "cancelled"
    """The caller withdrew it, or the backend was shut down."""
    INFRASTRUCTURE = "infrastructure"
    """gigaexec or the machine failed: no worker started, the disk is full, the queue limit passed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended, and what it cost. Never an exception.

    Args:
        status: How it ended.
        value: The function's return value when `status` is ok, else None.
        error: The error that `execute` would have raised, else None.
        output: What the program wrote.
        metrics: What it cost; None where it never ran, and where a reused worker did not report back.
        queue_time_s: Seconds that the call waited for a worker to be free.
        start_time_s: Seconds that it waited for a worker process to start; 0 where one was ready.
        run_time_s: Seconds that it ran, up to its end or to the moment it was killed. 0 if it never ran.
        index: Position of the call among those given to `map_calls`; 0 elsewhere.
        confinement: The steps of the sandbox as they were tried for this call, before its program began. With
            the sandbox off, the namespaces that a fresh process gets all the same; empty for a reused one.
    """

    status: OutcomeStatus
    value: Any = None
    error: GigaexecError | None = None
    output: CapturedOutput = field(default_factory=CapturedOutput)
    metrics: ExecutionMetrics | None = None
    queue_time_s: float = 0.0
    start_time_s: float = 0.0
    run_time_s: float = 0.0
    index: int = 0
    confinement: tuple[ConfinementStep, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status is OutcomeStatus.OK

    def unwrap(self) -> Any:
        """Return the value.

        Raises:
            GigaexecError: `self.error`, when the call did not end well.
        """
        if self.error is not None:
            raise self.error
        return self.value
