"""Measurements of a call: its cost, its output, the limit that was hit. Results and errors contain them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resource import struct_rusage

# Characters of a text that a repr shows.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """Cost of one call, measured in the worker.

    CPU time, switches and faults include the child processes that the call waited for.

    Args:
        peak_rss_kb: Peak resident memory of the call, KiB. This is the larger of two values: the peak of the
            call's first process during the call, including memory allocated before the call; and the largest
            sample of all the call's processes together, if they are sampled. macOS cannot reset the peak, so
            there the first value is the peak since the start of the worker.
        wall_time_s: Seconds from just before the program is compiled until the call returns or fails.
            Equal to `(finished_at_ns - started_at_ns) / 1e9`.
        user_time_s: CPU seconds in user mode.
        sys_time_s: CPU seconds in the kernel.
        worker_pid: Process id of the worker.
        worker_id: Id of the worker process, 12 hex digits.
        node_id: Name of the driver's machine or pod.
        started_at_ns: Start of the call, nanoseconds on the monotonic clock of the worker's machine.
        finished_at_ns: End of the call, nanoseconds on the clock of `started_at_ns`.
        lifetime_peak_rss_kb: Peak resident memory of the worker process since its start, KiB.
        voluntary_switches: Number of times that the processes gave up the CPU to wait.
        involuntary_switches: Number of times that the kernel took the CPU from the processes.
        minor_faults: Page faults that needed no disk.
        major_faults: Page faults that read from a disk.
        bytes_in: Encoded size of the call: program, arguments, environment. For a shared argument,
            only the reference to its memory is counted.
        bytes_out: Encoded size of the return value; 0 on failure. Classes and functions of the program that
            travel with the value, and the globals that they use, are included.
        seed: Seed of the call's random generators; None if they were not seeded.
    """

    peak_rss_kb: int
    wall_time_s: float
    user_time_s: float
    sys_time_s: float
    worker_pid: int
    worker_id: str = ""
    node_id: str = ""
    started_at_ns: int = 0
    finished_at_ns: int = 0
    lifetime_peak_rss_kb: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A limit that a call hit.

    Args:
        name: Name of the field of `Limits`, such as "memory_bytes".
        limit: Value of the limit.
        measured: The measured amount, in the unit of the limit. None if nothing was measured because the
            kernel itself refused more.
    """

    name: str
    limit: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class ConfinementStep:
    """Result of one step of the sandbox on this machine.

    Args:
        name: Name of the step, such as "landlock_files".
        held: True if the step is in force.
        detail: If the step is not in force, the reason. Otherwise a version, or "".
    """

    name: str
    held: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class CapturedOutput:
    """Output of a program and its child processes: the bytes written to file descriptors 1 and 2, as text.

    Args:
        stdout: Text of descriptor 1. If the text is longer than `WorkerConfig.captured_output_bytes`, a line
            with the number of missing bytes replaces the middle of the text.
        stderr: Text of descriptor 2, shortened like `stdout`. After a crash the text ends with the traceback
            of faulthandler.
        stdout_bytes: Number of bytes written to descriptor 1, including bytes that `stdout` leaves out.
        stderr_bytes: Number of bytes written to descriptor 2, including bytes that `stderr` leaves out.
    """

    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.stdout or self.stderr)

    def __repr__(self) -> str:
        stdout, stderr = (
            repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}..."
            for text in (self.stdout, self.stderr)
        )
        return (
            f"CapturedOutput(stdout={stdout}, stderr={stderr}, "
            f"stdout_bytes={self.stdout_bytes}, stderr_bytes={self.stderr_bytes})"
        )

    def as_report(self) -> str:
        """Return stdout and stderr as text, each under a heading; "" if the program wrote nothing."""
        parts = []
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                parts.append(
                    f"--- captured output: {name} ---\n{text}" + ("" if text.endswith("\n") else "\n")
                )
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that processes have used, from getrusage(2)."""

    user_time_s: float
    sys_time_s: float
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int

    @classmethod
    def of(cls, *each: struct_rusage) -> Usage:
        """Return the sum of one or more results of getrusage(2) or wait4(2)."""
        return cls(
            sum(used.ru_utime for used in each),
            sum(used.ru_stime for used in each),
            sum(used.ru_nvcsw for used in each),
            sum(used.ru_nivcsw for used in each),
            sum(used.ru_minflt for used in each),
            sum(used.ru_majflt for used in each),
        )

    def since(self, before: Usage) -> Usage:
        """Return the difference between this usage and the earlier usage `before`."""
        return Usage(
            max(0.0, self.user_time_s - before.user_time_s),
            max(0.0, self.sys_time_s - before.sys_time_s),
            self.voluntary_switches - before.voluntary_switches,
            self.involuntary_switches - before.involuntary_switches,
            self.minor_faults - before.minor_faults,
            self.major_faults - before.major_faults,
        )
