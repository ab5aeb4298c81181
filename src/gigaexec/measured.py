"""What is measured of a call: its cost and its output. Results, outcomes and errors carry it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resource import struct_rusage


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """What one call cost, measured in the worker.

    Args:
        peak_rss_kb: Peak resident memory of the call, KiB: of its first process since the call began, what
            that process already held included, or of all its processes together where samples of the
            whole tree found more. Where the kernel does not let the peak be reset (macOS), it is the peak
            of the worker's life.
        wall_time_s: Seconds from just before the program is compiled to its return or failure.
            Equal to `(finished_at_ns - started_at_ns) / 1e9`.
        user_time_s: CPU seconds in user mode, children that the call waited for included.
        sys_time_s: CPU seconds in the kernel, children that the call waited for included.
        worker_pid: Process id of the worker.
        worker_id: 12 hex digits, new for each worker process.
        node_id: Name of the driver's machine or pod.
        started_at_ns: Start on the monotonic clock of the worker's machine.
        finished_at_ns: End on the same clock.
        lifetime_peak_rss_kb: Peak resident memory of the worker process since it started, KiB. A process
            that runs one call has no other life: then it is that call's.
        voluntary_switches: How often the call's processes gave up the CPU to wait, children that it waited
            for included.
        involuntary_switches: How often the CPU was taken from them.
        minor_faults: Page faults served without a disk.
        major_faults: Page faults that read from a disk.
        bytes_in: Size of the call as it was sent: program, arguments, environment. A shared argument counts
            as the reference that it is.
        bytes_out: Size of the return value as it was sent back; 0 on failure.
        seed: What the call's random generators were seeded with; None where they were left alone.
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
        measured: What was measured when it was hit, in the same unit; None where the system refused what
            would have gone beyond it.
    """

    name: str
    limit: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class ConfinementStep:
    """One step of a sandbox, as it was tried on this machine.

    Args:
        name: What it is, such as "landlock_files".
        held: Whether it is in force.
        detail: More about it: a version, or why it is not in force.
    """

    name: str
    held: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CapturedOutput:
    """What the program wrote to file descriptors 1 and 2, its child processes included.

    Args:
        stdout: Text of descriptor 1. Beyond the limit its middle is left out and a line in its place
            says how many bytes were.
        stderr: Text of descriptor 2, likewise. After a crash it ends with faulthandler's traceback.
        stdout_bytes: How many bytes were written to descriptor 1 in all.
        stderr_bytes: How many bytes were written to descriptor 2 in all.
    """

    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.stdout or self.stderr)

    def as_report(self) -> str:
        """Both streams under headings that mark them as captured output; "" when nothing was written."""
        parts = []
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                parts.append(
                    f"--- captured output: {name} ---\n{text}" + ("" if text.endswith("\n") else "\n")
                )
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have used, getrusage(2)."""

    user_time_s: float
    sys_time_s: float
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int

    @classmethod
    def of(cls, *each: struct_rusage) -> Usage:
        """The sum of some."""
        return cls(
            sum(used.ru_utime for used in each),
            sum(used.ru_stime for used in each),
            sum(used.ru_nvcsw for used in each),
            sum(used.ru_nivcsw for used in each),
            sum(used.ru_minflt for used in each),
            sum(used.ru_majflt for used in each),
        )

    def since(self, before: Usage) -> Usage:
        """What was used after `before` was measured."""
        return Usage(
            max(0.0, self.user_time_s - before.user_time_s),
            max(0.0, self.sys_time_s - before.sys_time_s),
            self.voluntary_switches - before.voluntary_switches,
            self.involuntary_switches - before.involuntary_switches,
            self.minor_faults - before.minor_faults,
            self.major_faults - before.major_faults,
        )
