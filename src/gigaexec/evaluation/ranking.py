"""Sort evaluations of programs into a ranking."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gigaexec.evaluation.problems import MetricsSpec
from gigaexec.evaluation.record import ProgramEvaluation


@dataclass(frozen=True, slots=True)
class Ranking:
    """Sorted evaluations of programs on one problem. A program's rank is its position in `valid`, from 1.

    Args:
        valid: Valid programs, best first. Equally good programs are sorted by name.
        invalid: Programs that failed or have wrong metrics, sorted by name. These programs have no rank.
        not_judged: Programs without a verdict, sorted by name: gigaexec or the machine failed, or the call
            was cancelled.
    """

    valid: tuple[ProgramEvaluation, ...]
    invalid: tuple[ProgramEvaluation, ...]
    not_judged: tuple[ProgramEvaluation, ...]

    def __len__(self) -> int:
        return len(self.valid) + len(self.invalid) + len(self.not_judged)


def rank(evaluations: Iterable[ProgramEvaluation], metrics: MetricsSpec) -> Ranking:
    """Sort evaluations, the best value of the primary metric first.

    Args:
        evaluations: Evaluations of programs on one problem, in any order.
        metrics: The metrics of the problem.
    """
    by_name = sorted(evaluations, key=_by_name)
    valid = [evaluation for evaluation in by_name if evaluation.was_judged and evaluation.is_valid]
    valid.sort(key=lambda evaluation: metrics.sort_key(evaluation.metrics))
    return Ranking(
        valid=tuple(valid),
        invalid=tuple(
            evaluation for evaluation in by_name if evaluation.was_judged and not evaluation.is_valid
        ),
        not_judged=tuple(evaluation for evaluation in by_name if not evaluation.was_judged),
    )


def _by_name(evaluation: ProgramEvaluation) -> tuple[str, str, str]:
    return (evaluation.name, str(evaluation.path or ""), evaluation.program_id)
