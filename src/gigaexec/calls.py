"""The records that cross process boundaries: a call, its result, its outcome.

A `WorkerCall` goes to a worker, a `WorkerResult` comes back, and the driver turns the result into an
`Outcome`. An exception of user code crosses a process boundary as text, never as an object.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Self

from gigaexec.checks import require_count
from gigaexec.errors import (
    ExecRunnerError,
    GigaexecError,
    InvalidCallError,
    LimitExceededError,
    LimitNotAppliedError,
    OutcomeStatus as OutcomeStatus,
    SandboxError,
    SpillError,
    ValueNotPicklableError,
    ValueNotReadableError,
)
from gigaexec.measured import (
    CapturedOutput as CapturedOutput,
    ConfinementStep as ConfinementStep,
    ExecutionMetrics as ExecutionMetrics,
    LimitHit as LimitHit,
)
from gigaexec.untrusted.json_text import safe_repr
from gigaexec.untrusted.plain_values import type_name

# Maximum length of a value in a repr.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, repr=False)
class WorkerCall:
    """One call of one function of one program.

    Args:
        code: Python source. It is compiled as a module named `user_code`. A byte order mark, and an
            indentation that all statements share, are removed.
        function_name: Name of the function to call, which the module must define. A dotted name, such as
            "Solution.solve", is the name of a method: an instance of the class is created without arguments.
            An `async def` function is run to its end with `asyncio.run`.
        args: Positional arguments: any values that cloudpickle can pickle.
        kwargs: Keyword arguments: parameter name -> value, as in `args`.
        python_path: Folders to put at the front of `sys.path` for this call, in this order. A relative folder
            is relative to the driver's current folder.
        env: Environment variables for this call only: name -> value; None unsets the variable.
        seed: Seed of `random` and of numpy's global generator for this call, from 0 to `2**64 - 1`.
            `PYTHONHASHSEED` is set to the seed modulo `2**32` for processes that the program starts; the
            hashing of the worker itself cannot be changed any more. With None, a fresh process draws a random
            seed, and a reused worker does not seed its generators. `ExecutionMetrics.seed` reports the seed
            that was used.
        file: Absolute path of the file that the code came from, for `__file__`, tracebacks and
            `inspect.getsource`. The program can import from the folder of this file, as if the folder were
            the last one of `python_path`, and a sandbox lets the program read that folder. None if the code
            is from no file: then a worker writes the code to a file `user_code.py`, which is removed with the
            pool.

    Raises:
        InvalidCallError: A field has the wrong type or an impossible value. The message names the field and
            the value.
    """

    code: str
    function_name: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    python_path: list[str] = field(default_factory=list)
    env: dict[str, str | None] = field(default_factory=dict)
    seed: int | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        _require_type("code", self.code, str, "a string of Python source")
        _require_type("function_name", self.function_name, str, "the name of a function")
        if not self.function_name:
            raise InvalidCallError("function_name is empty; give the name of a function defined in the code")
        _require_type("args", self.args, list, "a list of positional arguments")
        _require_type("kwargs", self.kwargs, dict, "a dict of keyword arguments")
        for key in self.kwargs:
            _require_type("a key of kwargs", key, str, "a parameter name")
        _require_type("python_path", self.python_path, list, "a list of folder names")
        for index, entry in enumerate(self.python_path):
            _require_type(f"python_path[{index}]", entry, str, "a folder name as a string")
            _require_system_text(f"python_path[{index}]", entry)
        if self.file is not None:
            _require_type("file", self.file, str, "the absolute path of the program's file, or None")
            _require_system_text("file", self.file)
            if not self.file.startswith("/"):
                raise InvalidCallError(f"file must be an absolute path, not {self.file!r:.80}")
        _require_type("env", self.env, dict, "a dict of environment variables")
        for name, value in self.env.items():
            _check_environment_entry(name, value)
        if self.seed is not None:
            expected = "a whole number from 0 to 2**64 - 1, or None"
            require_count(
                "seed", self.seed, least=0, most=2**64 - 1, expected=expected, error=InvalidCallError
            )

    def __repr__(self) -> str:
        shown = {
            name: safe_repr(getattr(self, name), most_characters=_SHOWN_CHARACTERS)
            for name in ("args", "kwargs", "python_path", "env")
            if getattr(self, name)
        }
        seed = {} if self.seed is None else {"seed": str(self.seed)}
        name = safe_repr(self.function_name, most_characters=_SHOWN_CHARACTERS)
        parts = [f"<{len(self.code)} characters of code>", name]
        return (
            f"WorkerCall({', '.join([*parts, *(f'{key}={text}' for key, text in (shown | seed).items())])})"
        )


def _require_type(name: str, value: object, expected: type, description: str) -> None:
    if not isinstance(value, expected):
        found = f"{type(value).__name__}: {value!r:.80}"
        raise InvalidCallError(f"{name} must be {description}, not {found}{_source_hint(name, value)}")


def _source_hint(name: str, value: object) -> str:
    """Return a hint on getting the source text, if `code` is a function or a path; otherwise ""."""
    if name == "code" and isinstance(value, FunctionType):
        return f"; pass inspect.getsource({value.__name__})"
    if name == "code" and isinstance(value, os.PathLike):
        return "; pass its read_text()"
    return ""


def _check_environment_entry(name: object, value: object) -> None:
    _require_type("a name in env", name, str, "a string")
    assert isinstance(name, str)
    if not name or "=" in name or "\0" in name:
        raise InvalidCallError(
            f"env contains the name {name!r}; the name of a variable must not be empty or contain '=' or NUL"
        )
    _require_system_text("a name in env", name)
    if value is not None:
        _require_type(f"env[{name!r}]", value, str, "a string, or None to unset it")
        assert isinstance(value, str)
        _require_system_text(f"env[{name!r}]", value)


def _require_system_text(what: str, text: str) -> None:
    """Raise InvalidCallError if the text cannot be part of an environment variable or a path."""
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise InvalidCallError(f"{what} contains a character that cannot be encoded: {error}") from error
    if b"\0" in encoded:
        raise InvalidCallError(f"{what} contains a NUL character: {text!r:.80}")


class ErrorKind(enum.StrEnum):
    """Kind of failure that a worker reports. The driver turns the failure into an error of class `error`."""

    error: type[GigaexecError]

    def __new__(cls, value: str, error: type[GigaexecError] = ExecRunnerError) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.error = error
        return kind

    USER = "user"
    """The program failed: a syntax error, a missing function, an exception or an exit."""
    VALUE = "value", ValueNotPicklableError
    """The return value cannot be encoded: it cannot be pickled, or the required data format refuses it."""
    REBUILDING = "rebuilding", ValueNotReadableError
    """The return value was pickled, and the worker could not rebuild the value from the pickle."""
    ARGUMENTS = "arguments"
    """The arguments could not be restored in the worker."""
    SPILL = "spill", SpillError
    """The result could not be written to the spill directory, for example because the disk is full."""
    LIMIT = "limit", LimitExceededError
    """The call hit the limit that `WorkerError.hit` names. `LIMIT_SPECS` has the error classes."""
    SETUP = "setup", LimitNotAppliedError
    """A limit could not be applied. The program did not run."""
    SANDBOX = "sandbox", SandboxError
    """A required step of the sandbox is not in force. The program did not run."""


@dataclass(frozen=True, slots=True, repr=False)
class WorkerError:
    """A failure inside the worker, as text.

    Args:
        stderr: The formatted traceback with its code context.
        returncode: The exit status n if the program called `sys.exit(n)` with a non-zero int, else 1.
        kind: The kind of failure.
        summary: The failure in one line, such as "ZeroDivisionError: division by zero".
        hit: The limit that the call hit, for `ErrorKind.LIMIT`.
    """

    stderr: str
    returncode: int = 1
    kind: ErrorKind = ErrorKind.USER
    summary: str = ""
    hit: LimitHit | None = None

    def __repr__(self) -> str:
        summary = safe_repr(self.summary, most_characters=_SHOWN_CHARACTERS)
        return f"WorkerError({self.kind.value}, {summary}, returncode={self.returncode}, hit={self.hit})"


@dataclass(frozen=True, slots=True)
class ValueLayout:
    """Sizes and offsets of the parts of an encoded value, whose bytes are sent inline or in a file.

    Args:
        format: "pickle", or "data" for the data format of `gigaexec.wire.data`.
        head_bytes: Size of the first part, the head: the pickle, or the value in the data format.
        buffers: Offset and size of each buffer that the head refers to, in order.
        total_bytes: Size of the head and all buffers together.
    """

    format: str
    head_bytes: int
    buffers: tuple[tuple[int, int], ...] = ()
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """A worker's answer to one call.

    Args:
        spill_path: Path of the file that contains a value too large to send inline. None if the value is
            inline, or in an unnamed (unlinked) file that is sent as an open descriptor.
        error: The failure, or None.
        metrics: Cost of the call; also present on failure.
        inline_value: The encoded value itself, if it is small.
        layout: The layout of the encoded value; None on failure.
        retire_reason: Reason why the worker must not run another call, such as leftover threads; "" if the
            worker may run more calls.
        file_number: The worker's descriptor number of the unnamed file, if sending the descriptor failed.
            The driver then opens the file through /proc. Otherwise None.
        warning: Text about the value for the driver to log; "" if there is nothing to report.
    """

    spill_path: str | None
    error: WorkerError | None
    metrics: ExecutionMetrics
    inline_value: bytes | None = field(default=None, repr=False)
    layout: ValueLayout | None = None
    retire_reason: str = ""
    file_number: int | None = None
    warning: str = ""

    @property
    def peak_rss_kb(self) -> int:
        """Peak resident memory of the call, KiB; see `ExecutionMetrics`."""
        return self.metrics.peak_rss_kb

    @property
    def wall_time_s(self) -> float:
        """Wall time of the call, seconds."""
        return self.metrics.wall_time_s

    @property
    def user_time_s(self) -> float:
        """CPU seconds in user mode."""
        return self.metrics.user_time_s

    @property
    def sys_time_s(self) -> float:
        """CPU seconds in the kernel."""
        return self.metrics.sys_time_s

    @property
    def worker_pid(self) -> int:
        """Process id of the worker."""
        return self.metrics.worker_pid

    @property
    def worker_id(self) -> str:
        """Id of the worker process, 12 hex digits."""
        return self.metrics.worker_id

    @property
    def node_id(self) -> str:
        """Name of the driver's machine or pod."""
        return self.metrics.node_id


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """Result of one call: its value or error, its output and its cost. A failure of the call is not raised.

    The repr is short, and is made without running code of the value's class.

    Args:
        status: Final state of the call.
        value: The function's return value if `status` is ok, else None.
        error: The error that `execute` would have raised; None if `status` is ok.
        output: Output that the program wrote.
        metrics: Cost of the call. None if the call never ran, or if a reused worker ended before reporting
            the cost.
        queue_time_s: Seconds that the call waited for a free worker.
        start_time_s: Seconds that the call waited for a worker process to start; 0 if a worker was ready.
        run_time_s: Seconds that the call ran, until it ended or was killed; 0 if it never ran.
        index: Position of the call in the calls passed to `map_calls`; 0 for a call made another way.
        confinement: Result of each step of the sandbox for this call, recorded before the program began. With
            the sandbox off, a fresh process still lists some namespaces, and a reused worker lists nothing.
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

    def __repr__(self) -> str:
        if self.error is None:
            result = f"value={safe_repr(self.value, most_characters=_SHOWN_CHARACTERS)}"
        else:
            summary = safe_repr(self.error.summary, most_characters=_SHOWN_CHARACTERS)
            result = f"error={type_name(self.error)}({summary})"
        return f"Outcome({self.status.value}, {result}, run_time_s={self.run_time_s:.6g}, index={self.index})"

    @property
    def ok(self) -> bool:
        """True if the call returned a value."""
        return self.status is OutcomeStatus.OK

    @property
    def is_inconclusive(self) -> bool:
        """True if the outcome is no verdict on the program. Never score it as a failure of the program."""
        return self.status.is_inconclusive

    def unwrap(self) -> Any:
        """Return the value.

        Raises:
            GigaexecError: `self.error`, if the call has no value.
        """
        if self.error is not None:
            raise self.error
        return self.value
