"""The record of one evaluated program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gigaexec.calls import OutcomeStatus
from gigaexec.untrusted.json_text import json_line, metric_as_json, safe_repr


@dataclass(frozen=True, slots=True, repr=False)
class ProgramEvaluation:
    """The evaluation of one program on one problem.

    Times and memory are measurements of the call that runs the program, without the call of the validator.

    Args:
        name: Name of the program; the file's name without its suffix if the program came from a file.
        program_id: Id of the program; "" if the file could not be read or decoded.
        path: The file that the program came from, or None.
        status: Status of the call that failed; ok if no call failed. A program with wrong metrics, such as a
            missing metric, has the status ok but is not valid.
        is_valid: True if the metrics of the program may be compared with those of other programs.
        metrics: First the metrics that metrics.yaml specifies, as floats, then other metrics that the
            validator returned. If the program is not valid, the specified metrics have their sentinel values.
            Empty if the program was not judged.
        out_of_bounds: Metric name -> a sentence, for each metric whose value is outside its bounds.
        reason: Why the program is not valid or was not judged, one line; "" if the program is valid.
        detail: The whole failure: traceback, code context, captured output.
        failed_stage: Name of the stage that failed, or None.
        side_failures: Stage name -> reason, for each failed stage that the metrics do not depend on. These
            failures do not make a program invalid.
        wall_time_s: Wall time of the call, seconds, from `ExecutionMetrics`; None if the call has no metrics.
        cpu_time_s: CPU time of the call, user and system together, seconds; None if the call has no metrics.
        peak_rss_kb: Peak memory of the call, KiB; None if the call has no metrics.
        queue_time_s: Seconds that the call waited for a free worker.
        start_time_s: Seconds that the call waited for a worker process to start.
        run_time_s: Seconds that the call ran, until it ended or was killed.
        artifact: The artifact that the validator returned, or None. `to_json` leaves it out.
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

    def __repr__(self) -> str:
        # Metrics that metrics.yaml does not specify can be instances of a program's classes.
        metrics = safe_repr(dict(self.metrics), most_characters=500)
        reason = safe_repr(self.reason, most_characters=200)
        return (
            f"ProgramEvaluation(name={self.name!r:.200}, status={self.status.value}, "
            f"is_valid={self.is_valid}, metrics={metrics}, reason={reason})"
        )

    @property
    def was_judged(self) -> bool:
        """True if the evaluation is a verdict on the program.

        False if the call was cancelled, or if gigaexec or the machine failed.
        """
        return not self.status.is_inconclusive

    def to_json(self) -> str:
        """Return one line of JSON, without a newline at its end.

        A metric that is NaN or infinite is written as null. Any other metric that JSON cannot represent is
        written as its repr.

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
