"""Limits of one call. docs/how-to/add-a-limit.md explains how to add a limit."""

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
"""Smallest limit on open files. A worker itself uses about ten descriptors, and imports need some more."""

_LARGEST_COUNT = 2**60
_LONGEST_S = 1e9
"""Largest allowed count, and largest allowed number of seconds; None is no limit. Sums of such limits still
fit into the kernel's integers."""


class LimitSpec(NamedTuple):
    """Declaration of one limit. Checks, error messages and command-line options are made from it.

    The unit of the limit is the suffix of its field name: `_bytes`, `_s` (seconds), or no suffix for a count.

    Args:
        error: Class of the error of a call that hit the limit. The outcome has the `status` of this class.
        verb: Verb of the error message: "used" in "used 1011 MiB of memory, limit 1000 MiB".
        amount: Text of the amount in the error message, with {} for the number: "{} of memory".
        is_sampled: True if the driver must sample the processes of the call to enforce the limit.
        least: The smallest allowed value of a count.
        option: Name of the command-line option that sets the limit; "" for no option. The name of an option
            for bytes ends in `-mb`, and its value is in MiB.
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
    """Limits of one call, including its child processes. None is no limit. Checked on creation.

    If a call hits a limit, the call ends with the status of that limit. Its error contains the limit, the
    measured amount, and the output of the program so far. If this machine cannot enforce a limit, the call
    fails with an infrastructure error before the program starts.

    Args:
        memory_bytes: Resident memory of all processes of the call together: private pages and their page
            tables, shared memory, and memfds. In a fresh process, this includes the 10 to 20 MiB of the
            interpreter and the modules that `preload` loaded. In a reused worker, memory from before the call
            is not counted. The memory is sampled every 20 ms. Between two samples, RLIMIT_DATA stops a
            process that allocates 256 MiB more than the limit.
        cpu_time_s: CPU seconds of all processes together.
        processes: Number of processes that the call may have at once, including its first process.
        open_files: Number of open files of one process (RLIMIT_NOFILE), at least 24. In a sandbox, None is
            256, or half of the driver's own limit if that half is less.
        file_size_bytes: Largest file that a process may write (RLIMIT_FSIZE).
        output_bytes: Bytes that the call may write to stdout and stderr together.
        result_bytes: Encoded size of the return value.
        scratch_bytes: Disk space in the call's scratch folder. Only a call in a sandbox has such a folder.
        soft_deadline_s: Seconds after which the program should return its best result so far. This deadline
            is not enforced. The program can read it from the environment variable
            `GIGAEVO_EXEC_SOFT_DEADLINE_EPOCH`, in seconds since the epoch.

    Raises:
        ConfigurationError: A value is out of range or of the wrong type. The error is also a `ValueError`.
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
        """Return a copy of these limits in which the limits that `other` sets replace those of `self`."""
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
"""Field name of `Limits` -> spec of the limit. `soft_deadline_s` has no spec, because it is not enforced."""

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
    """Return the value unchanged if it is a `Limits`.

    Raises:
        ConfigurationError: The value is not a `Limits`.
    """
    if not isinstance(value, Limits):
        raise ConfigurationError(f"limits must be a Limits, not {type(value).__name__}: {value!r:.80}")
    return value
