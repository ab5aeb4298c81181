"""What is known about one program after its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigaexec.calls import OutcomeStatus
from gigaexec.untrusted.json_text import json_line, metric_as_json

_SAYS_NOTHING = frozenset({OutcomeStatus.INFRASTRUCTURE, OutcomeStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class ProgramEvaluation:
    """How one program did on one problem.

    The costs and clocks are those of the program's own call; the validator's are not in them.

    Args:
        name: Name of the program; the file's name without its ending where it came from a file.
        program_id: Its id; "" for a file that could not be read.
        path: The file that it came from, or None.
        status: How the call that failed ended; ok when none did. A program whose metrics do not hold
            (one is missing, say) is ok here and not valid.
        is_valid: Whether its metrics may be compared with those of others.
        metrics: Every specified metric as a float, then any others that the validator gave. The sentinels
            when the program is not valid; empty when it was not judged.
        out_of_bounds: For each metric outside its bounds, what is odd about it.
        reason: Why it is not valid, in one line; "" when it is.
        detail: Everything known about the failure: traceback, code context, captured output.
        failed_stage: Name of the stage that failed, or None.
        side_failures: For each failed stage that the metrics do not depend on, why it failed. They do not
            make a program invalid.
        wall_time_s: Seconds that the program's call took, as `ExecutionMetrics` has them; None where there
            are none.
        cpu_time_s: CPU seconds of that call, user and system together; None likewise.
        peak_rss_kb: Peak memory of that call, KiB; None likewise.
        queue_time_s: Seconds that the call waited for a free worker.
        start_time_s: Seconds that it waited for a worker process to start.
        run_time_s: Seconds that it ran, up to its end or to the moment it was killed.
        artifact: What the validator returned beside the metrics, or None. It is not part of the JSON.
    """

    name: str
    program_id: str
    path: Path | None = None
    status: OutcomeStatus = OutcomeStatus.OK
    is_valid: bool = False
    metrics: Mapping[str, Any] = field(default_factory=dict)
    out_of_bounds: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""
    failed_stage: str | None = None
    side_failures: Mapping[str, str] = field(default_factory=dict)
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_rss_kb: int | None = None
    queue_time_s: float = 0.0
    start_time_s: float = 0.0
    run_time_s: float = 0.0
    artifact: Any = None

    @property
    def was_judged(self) -> bool:
        """False when the machine or gigaexec failed, or the call was withdrawn: no verdict on the program."""
        return self.status not in _SAYS_NOTHING

    def to_json(self) -> str:
        """Return one line of JSON, without a newline at its end.

        Of the metrics beyond the specified ones, NaN and the infinities are written as null, and what JSON
        has no form for as its repr.
        """
        return json_line(
            {
                "name": self.name,
                "program_id": self.program_id,
                "path": None if self.path is None else str(self.path),
                "status": self.status.value,
                "is_valid": self.is_valid,
                "metrics": {name: metric_as_json(value) for name, value in self.metrics.items()},
                "out_of_bounds": dict(self.out_of_bounds),
                "reason": self.reason,
                "detail": self.detail,
                "failed_stage": self.failed_stage,
                "side_failures": dict(self.side_failures),
                "wall_time_s": self.wall_time_s,
                "cpu_time_s": self.cpu_time_s,
                "peak_rss_kb": self.peak_rss_kb,
                "queue_time_s": self.queue_time_s,
                "start_time_s": self.start_time_s,
                "run_time_s": self.run_time_s,
            }
        )
