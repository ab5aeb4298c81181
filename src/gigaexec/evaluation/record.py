"""The record of one evaluated program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigaexec.calls import OutcomeStatus
from gigaexec.untrusted.json_text import json_line, metric_as_json


@dataclass(frozen=True, slots=True)
class ProgramEvaluation:
    """The evaluation of one program on one problem.

    Costs and clocks are those of the call that runs the program; the call of the validator is not included.

    Args:
        name: Name of the program; the file's name without its suffix if the program came from a file.
        program_id: Id of the program; "" if the file could not be read or decoded.
        path: The file that the program came from, or None.
        status: How the call that failed ended; ok if no call failed. A program with wrong metrics (one is
            missing, for example) is ok here and not valid.
        is_valid: True if the metrics of the program may be compared with those of other programs.
        metrics: Every specified metric as a float, then the other metrics that the validator gave. The
            specified metrics are the sentinels if the program is not valid. Empty if the program was not
            judged.
        out_of_bounds: Metric -> a sentence about its value outside the bounds.
        reason: Why the program is not valid or was not judged, one line; "" if it is valid.
        detail: The whole failure: traceback, code context, captured output.
        failed_stage: Name of the stage that failed, or None.
        side_failures: Stage name -> why it failed, for failed stages that the metrics do not depend on. These
            failures do not make a program invalid.
        wall_time_s: Wall time of the call, seconds, from its `ExecutionMetrics`; None if it has none.
        cpu_time_s: CPU time of the call, user and system together, seconds; None if the call has no metrics.
        peak_rss_kb: Peak memory of the call, KiB; None if the call has no metrics.
        queue_time_s: Seconds that the call waited for a free worker.
        start_time_s: Seconds that the call waited for a worker process to start.
        run_time_s: Seconds from the start of the call to its end or until it was killed.
        artifact: The artifact that the validator returned, or None. It is not part of the JSON.
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
        """False if gigaexec or the machine failed, or the call was withdrawn: no verdict on the program."""
        return not self.status.is_inconclusive

    def to_json(self) -> str:
        """Return one line of JSON, without a newline at its end.

        Among metrics that are not specified, NaN and infinities are written as null, and values that JSON
        cannot represent are written as their repr.

        Raises:
            TypeError: A metric's name or another field has a type that JSON cannot represent.
            ValueError: A metric contains itself.
            RecursionError: A metric is nested too deep.
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
