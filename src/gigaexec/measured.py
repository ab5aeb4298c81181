"""Measurements of a call: its cost, its output, the limit that it hit. Results and errors hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resource import struct_rusage


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """Cost of one call, measured in the worker.

    CPU time, switches and faults include the children that the call waited for.

    Args:
        peak_rss_kb: Peak resident memory of the call, KiB: the peak of its first process during the call,
            including the memory that the process held before; or of all processes of the call together, if
            samples found more. On systems that cannot reset the peak (macOS), the peak of the worker's life.
        wall_time_s: Seconds from just before the program is compiled to its return or failure.
            Equal to `(finished_at_ns - started_at_ns) / 1e9`.
        user_time_s: CPU seconds in user mode.
        sys_time_s: CPU seconds in the kernel.
        worker_pid: Process id of the worker.
        worker_id: Id of the worker process, 12 hex digits.
        node_id: Name of the driver's machine or pod.
        started_at_ns: Start on the monotonic clock of the worker's machine, nanoseconds.
        finished_at_ns: End on the same clock, nanoseconds.
        lifetime_peak_rss_kb: Peak resident memory of the worker process since it started, KiB. Equal to the
            call's own peak if the process runs one call only.
        voluntary_switches: Number of times that the processes gave up the CPU to wait.
        involuntary_switches: Number of times that the kernel took the CPU from them.
        minor_faults: Page faults that needed no disk.
        major_faults: Page faults that read from a disk.
        bytes_in: Encoded size of the call: program, arguments, environment. A shared argument counts as the
            reference that is sent.
        bytes_out: Encoded size of the return value; 0 on failure.
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
        name: The field of `Limits`.
        limit: Its value.
        measured: The measured amount, in the same unit; None if the kernel refused the excess.
    """

    name: str
    limit: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class ConfinementStep:
    """One step of a sandbox, as it was tried on this machine.

    Args:
        name: Name of the step, such as "landlock_files".
        held: True if the step is in force.
        detail: A version, or why the step is not in force.
    """

    name: str
    held: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CapturedOutput:
    """Output of a program and its child processes: the bytes written to file descriptors 1 and 2, as text.

    Args:
        stdout: Text of descriptor 1. If it is longer than `WorkerConfig.captured_output_bytes`, its middle is
            replaced by a line that says how many bytes are missing.
        stderr: Text of descriptor 2, shortened in the same way. After a crash it ends with faulthandler's
            traceback.
        stdout_bytes: Number of bytes written to descriptor 1, including the missing ones.
        stderr_bytes: Number of bytes written to descriptor 2, including the missing ones.
    """

    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.stdout or self.stderr)

    def as_report(self) -> str:
        """Return both streams under headings that mark them as captured output; "" if nothing was written."""
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
        """Return the sum of the given usages."""
        return cls(
            sum(used.ru_utime for used in each),
            sum(used.ru_stime for used in each),
            sum(used.ru_nvcsw for used in each),
            sum(used.ru_nivcsw for used in each),
            sum(used.ru_minflt for used in each),
            sum(used.ru_majflt for used in each),
        )

    def since(self, before: Usage) -> Usage:
        """Return the usage since `before` was measured."""
        return Usage(
            max(0.0, self.user_time_s - before.user_time_s),
            max(0.0, self.sys_time_s - before.sys_time_s),
            self.voluntary_switches - before.voluntary_switches,
            self.involuntary_switches - before.involuntary_switches,
            self.minor_faults - before.minor_faults,
            self.major_faults - before.major_faults,
        )
