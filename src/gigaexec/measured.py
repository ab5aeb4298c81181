"""What is measured of a call: its cost and its output. Results, outcomes and errors carry it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutionMetrics:
    """What one call cost, measured in the worker.

    Args:
        peak_rss_kb: Peak resident memory of the worker process during the call, KiB. Where the kernel
            lets the peak be reset (Linux), it is the peak since the call began, what the worker
            already held included; elsewhere the peak of the worker's life.
        wall_time_s: Seconds from just before the program is compiled to its return or failure.
            Equal to `(finished_at_ns - started_at_ns) / 1e9`.
        user_time_s: CPU seconds in user mode, children that the call waited for included.
        sys_time_s: CPU seconds in the kernel, children that the call waited for included.
        worker_pid: Process id of the worker.
        worker_id: 12 hex digits, new for each worker process.
        node_id: Name of the driver's machine or pod.
        started_at_ns: Start on the monotonic clock of the worker's machine.
        finished_at_ns: End on the same clock.
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
