"""A ranking as rows of text, before they are laid out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from gigaexec.cli.quantities import memory_text, seconds_text
from gigaexec.evaluation import ProgramEvaluation, Ranking
from gigaexec.evaluation.problems import MetricsSpec
from gigaexec.untrusted.log_text import one_line

VALIDITY_METRIC = "is_valid"
OUT_OF_BOUNDS_MARK = "!"


@dataclass(frozen=True, slots=True)
class Row:
    """One program in the table.

    Args:
        rank: Its place, or "-".
        program: Its name; where several share one, the path.
        validity: "yes", "no", or "?" where nothing is known.
        metrics: One text for each metric that `shown_metrics` names; empty for a program without values.
        reason: Why it has none.
        cost: Wall time, CPU time, peak memory.
        flagged: Names of the metrics that lie outside their bounds.
    """

    rank: str
    program: str
    validity: str
    metrics: tuple[str, ...]
    reason: str
    cost: tuple[str, str, str]
    flagged: frozenset[str] = frozenset()


def shown_metrics(metrics: MetricsSpec) -> list[str]:
    """The metrics in the order of their columns: the primary one, then the others as in the file.

    `is_valid` has no column: what it says is in the column of validity.
    """
    others = [name for name in metrics.specs if name not in (metrics.primary, VALIDITY_METRIC)]
    return [metrics.primary, *others]


def ranked_rows(ranking: Ranking, metrics: MetricsSpec) -> tuple[list[Row], list[Row]]:
    """Rows of the programs that were judged, and rows of those that were not."""
    everyone = [*ranking.valid, *ranking.invalid, *ranking.not_judged]
    name_counts = Counter(evaluation.name for evaluation in everyone)

    def row(evaluation: ProgramEvaluation, rank: str, validity: str) -> Row:
        values = _metric_texts(evaluation, metrics) if evaluation.is_valid else ()
        is_shared = name_counts[evaluation.name] > 1
        return Row(
            rank=rank,
            program=one_line(_path_text(evaluation) if is_shared else evaluation.name),
            validity=validity,
            metrics=values,
            reason="" if evaluation.is_valid else one_line(evaluation.reason),
            cost=_cost_texts(evaluation),
            flagged=frozenset(evaluation.out_of_bounds),
        )

    judged = [row(evaluation, str(place), "yes") for place, evaluation in enumerate(ranking.valid, 1)]
    judged += [row(evaluation, "-", "no") for evaluation in ranking.invalid]
    return judged, [row(evaluation, "-", "?") for evaluation in ranking.not_judged]


def bounds_findings(ranking: Ranking) -> list[str]:
    """A sentence for each value outside its bounds."""
    return [
        one_line(f"{evaluation.name}: {metric} {finding}")
        for evaluation in ranking.valid
        for metric, finding in evaluation.out_of_bounds.items()
    ]


def _metric_texts(evaluation: ProgramEvaluation, metrics: MetricsSpec) -> tuple[str, ...]:
    return tuple(
        one_line(metrics.format(name, evaluation.metrics[name]))
        + (OUT_OF_BOUNDS_MARK if name in evaluation.out_of_bounds else "")
        for name in shown_metrics(metrics)
    )


def _cost_texts(evaluation: ProgramEvaluation) -> tuple[str, str, str]:
    # A killed call has no account of its own; how long it ran is known.
    wall_time_s = evaluation.wall_time_s
    if wall_time_s is None and evaluation.run_time_s > 0:
        wall_time_s = evaluation.run_time_s
    return (
        seconds_text(wall_time_s),
        seconds_text(evaluation.cpu_time_s),
        memory_text(evaluation.peak_rss_kb),
    )


def _path_text(evaluation: ProgramEvaluation) -> str:
    return os.path.relpath(evaluation.path) if evaluation.path is not None else evaluation.name
