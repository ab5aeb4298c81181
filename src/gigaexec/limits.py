"""What one call may use."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from gigaexec.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may use, its child processes included. None is no limit. Checked on creation.

    A limit that was hit ends the call with a status of its own, an error that carries the limit and what was
    measured, and the output up to then. A limit that this machine cannot enforce is an infrastructure error
    before the program starts.

    Args:
        memory_bytes: Resident memory of all processes of the call together: private pages and their page
            tables, shared memory and memory files. In a fresh process the interpreter's own 10 to 20 MiB, and
            what `preload` loaded, count; in a reused worker what it held before the call does not. Looked at
            every 20 ms; RLIMIT_DATA with 256 MiB of headroom bounds what can be missed in between.
        cpu_time_s: CPU seconds of all processes together.
        processes: How many processes the call may have at once, its first one included.
        open_files: Highest number of open files of one process (RLIMIT_NOFILE). None is 256 in a sandbox, or
            half of the driver's own where that is less.
        file_size_bytes: Largest file that a process may write (RLIMIT_FSIZE).
        output_bytes: What it may write to stdout and stderr together.
        result_bytes: Size of its return value in transit.
        scratch_bytes: Disk space in its scratch folder. Needs a sandbox, which makes the folder.
        soft_deadline_s: Seconds after which the program should return its best result so far. Nothing is
            enforced: the program finds the moment, in seconds since the epoch, in the environment variable
            `GIGAEVO_EXEC_SOFT_DEADLINE_EPOCH`.

    Raises:
        ConfigurationError: A value makes no sense (a `ValueError`).
    """

    memory_bytes: int | None = None
    cpu_time_s: float | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size_bytes: int | None = None
    output_bytes: int | None = None
    result_bytes: int | None = None
    scratch_bytes: int | None = None
    soft_deadline_s: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                require = _require_seconds if each.name.endswith("_s") else _require_count
                require(each.name, value)
        if self.open_files is not None and self.open_files < MIN_OPEN_FILES:
            raise ConfigurationError(
                f"open_files must be at least {MIN_OPEN_FILES}, which the worker needs for itself, "
                f"not {self.open_files}"
            )

    def overridden_by(self, other: Limits | None) -> Limits:
        """These limits, with those that `other` sets in their place."""
        if other is None:
            return self
        given = {each.name: getattr(other, each.name) for each in fields(other)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def need_watching(self) -> bool:
        """Whether processes must be looked at while the call runs."""
        return self.memory_bytes is not None or self.cpu_time_s is not None or self.processes is not None


MIN_OPEN_FILES = 24
"""A worker holds about ten descriptors; programs that import anything need some more."""


_LARGEST_COUNT = 2**60
_LONGEST_S = 1e9
"""Beyond these the kernel's own limits have no numbers; None is no limit at all."""


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_COUNT:
        raise ConfigurationError(f"{name} must be a whole number from 1 to 2**60, or None, not {value!r:.80}")


def _require_seconds(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= _LONGEST_S:
        raise ConfigurationError(
            f"{name} must be a number of seconds above 0 and up to 1e9, or None, not {value!r:.80}"
        )


def require_limits(value: object) -> Limits:
    """Return `value`, or raise `ConfigurationError` where it is no `Limits`."""
    if not isinstance(value, Limits):
        raise ConfigurationError(f"limits must be a Limits, not {type(value).__name__}: {value!r:.80}")
    return value
