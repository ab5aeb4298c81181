"""Limits of one call. docs/how-to/add-a-limit.md says what to write for a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from gigaexec.checks import require_count, require_seconds
from gigaexec.errors import (
    ConfigurationError,
    CpuTimeExceededError,
    FileSizeExceededError,
    LimitExceededError,
    MemoryExceededError,
    OpenFilesExceededError,
    OutputExceededError,
    ProcessesExceededError,
    ResultExceededError,
    ScratchExceededError,
)

MIN_OPEN_FILES = 24
"""A worker holds about ten descriptors; programs that import anything need some more."""

_LARGEST_COUNT = 2**60
_LONGEST_S = 1e9
"""The kernel's own limits cannot represent larger values. Use None for no limit."""


class LimitSpec(NamedTuple):
    """Everything about one limit that is not code: checks, messages and options are made from it.

    The suffix of the field's name is the unit of the limit: `_bytes`, `_s` (seconds), or none for a count.

    Args:
        error: Error of a call that hit the limit. Its `status` is the status of the outcome.
        verb: What the call did, for the message: "used" in "used 1011 MiB of memory, limit 1000 MiB".
        amount: The amount in words, with {} for the number: "{} of memory".
        is_sampled: True if the driver must sample the processes of the call to enforce the limit.
        least: The smallest allowed value of a count.
        option: Name of the command-line option that sets the limit; "" is none. An option for bytes ends in
            `-mb` and takes MiB.
        option_help: Help text of the option.
    """

    error: type[LimitExceededError]
    verb: str
    amount: str
    is_sampled: bool = False
    least: int = 1
    option: str = ""
    option_help: str = ""


def _limit(spec: LimitSpec) -> Any:
    return field(default=None, metadata={"spec": spec})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one call, its child processes included. None is no limit. Checked on creation.

    A call that hits a limit ends with a status of its own and an error that holds the limit, the measured
    amount and the output up to then. A limit that this machine cannot enforce is an infrastructure error
    before the program starts.

    Args:
        memory_bytes: Resident memory of all processes of the call together: private pages and their page
            tables, shared memory and memory files. In a fresh process the interpreter's own 10 to 20 MiB and
            the modules that `preload` loaded count; in a reused worker the memory that it held before the
            call does not. Sampled every 20 ms; RLIMIT_DATA with 256 MiB of headroom bounds what can be missed
            in between.
        cpu_time_s: CPU seconds of all processes together.
        processes: Number of processes that the call may have at once, its first one included.
        open_files: Number of open files of one process (RLIMIT_NOFILE), at least 24. None is 256 in a
            sandbox, or half of the driver's own limit if that is less.
        file_size_bytes: Largest file that a process may write (RLIMIT_FSIZE).
        output_bytes: Bytes that the call may write to stdout and stderr together.
        result_bytes: Encoded size of the return value.
        scratch_bytes: Disk space in the call's scratch folder. Needs a sandbox, which makes the folder.
        soft_deadline_s: Seconds after which the program should return its best result so far. Nothing is
            enforced: the program finds the time, in seconds since the epoch, in the environment variable
            `GIGAEVO_EXEC_SOFT_DEADLINE_EPOCH`.

    Raises:
        ConfigurationError: A value is out of range or of the wrong type (a `ValueError`).
    """

    memory_bytes: int | None = _limit(
        LimitSpec(
            MemoryExceededError,
            "used",
            "{} of memory",
            is_sampled=True,
            option="--memory-mb",
            option_help="MiB of memory that a call may use, with all its processes.",
        )
    )
    cpu_time_s: float | None = _limit(
        LimitSpec(CpuTimeExceededError, "used", "{} of CPU time", is_sampled=True)
    )
    processes: int | None = _limit(LimitSpec(ProcessesExceededError, "had", "{} processes", is_sampled=True))
    open_files: int | None = _limit(
        LimitSpec(OpenFilesExceededError, "had", "{} open files", least=MIN_OPEN_FILES)
    )
    file_size_bytes: int | None = _limit(LimitSpec(FileSizeExceededError, "wrote", "{} in one file"))
    output_bytes: int | None = _limit(LimitSpec(OutputExceededError, "wrote", "{} of output"))
    result_bytes: int | None = _limit(LimitSpec(ResultExceededError, "returned", "{} of data"))
    scratch_bytes: int | None = _limit(LimitSpec(ScratchExceededError, "used", "{} of scratch space"))
    soft_deadline_s: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                _require_limit(each.name, value)

    def overridden_by(self, other: Limits | None) -> Limits:
        """Return these limits with every limit replaced that `other` sets."""
        if other is None:
            return self
        given = {each.name: getattr(other, each.name) for each in fields(other)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def sampled(self) -> tuple[str, ...]:
        """Names of the limits that are set and that the driver enforces by sampling processes."""
        return tuple(name for name in _SAMPLED if getattr(self, name) is not None)

    @property
    def need_watching(self) -> bool:
        """True if the driver must sample processes while the call runs."""
        return bool(self.sampled)


LIMIT_SPECS: Mapping[str, LimitSpec] = {
    each.name: each.metadata["spec"] for each in fields(Limits) if each.metadata
}
"""Field of `Limits` -> its spec. `soft_deadline_s` has none: it is not enforced."""

_SAMPLED = tuple(name for name, spec in LIMIT_SPECS.items() if spec.is_sampled)


def _require_limit(name: str, value: Any) -> None:
    if name.endswith("_s"):
        expected = "a number of seconds above 0 and up to 1e9, or None"
        require_seconds(name, value, most=_LONGEST_S, expected=expected)
    else:
        least = LIMIT_SPECS[name].least
        expected = f"a whole number from {least} to 2**60, or None"
        require_count(name, value, least=least, most=_LARGEST_COUNT, expected=expected)


def require_limits(value: object) -> Limits:
    """Return `value`.

    Raises:
        ConfigurationError: The value is not a `Limits`.
    """
    if not isinstance(value, Limits):
        raise ConfigurationError(f"limits must be a Limits, not {type(value).__name__}: {value!r:.80}")
    return value
