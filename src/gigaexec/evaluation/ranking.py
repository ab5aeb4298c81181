"""Evaluations in the order in which a person wants to read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gigaexec.evaluation.problems import MetricsSpec
from gigaexec.evaluation.record import ProgramEvaluation


@dataclass(frozen=True, slots=True)
class Ranking:
    """Evaluations of one problem, sorted. A program's rank is its place in `valid`, from 1.

    Args:
        valid: Valid programs, the best first; equal ones by name.
        invalid: Programs that failed or were judged not valid, by name. They have no rank.
        not_judged: Programs that nothing is known about, because the machine or gigaexec failed or the
            call was withdrawn, by name.
    """

    valid: tuple[ProgramEvaluation, ...]
    invalid: tuple[ProgramEvaluation, ...]
    not_judged: tuple[ProgramEvaluation, ...]

    def __len__(self) -> int:
        return len(self.valid) + len(self.invalid) + len(self.not_judged)


def rank(evaluations: Iterable[ProgramEvaluation], metrics: MetricsSpec) -> Ranking:
    """Sort evaluations by the primary metric, in its direction.

    Args:
        evaluations: Of programs on one problem, in any order.
        metrics: The metrics of that problem.
    """
    by_name = sorted(evaluations, key=_by_name)
    valid = [evaluation for evaluation in by_name if evaluation.was_judged and evaluation.is_valid]
    valid.sort(key=lambda evaluation: metrics.sort_key(evaluation.metrics))
    return Ranking(
        valid=tuple(valid),
        invalid=tuple(one for one in by_name if one.was_judged and not one.is_valid),
        not_judged=tuple(one for one in by_name if not one.was_judged),
    )


def _by_name(evaluation: ProgramEvaluation) -> tuple[str, str, str]:
    return (evaluation.name, str(evaluation.path or ""), evaluation.program_id)
