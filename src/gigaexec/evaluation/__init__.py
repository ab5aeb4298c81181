"""Many programs on one problem: evaluations, and the ranking of them. Needs the extra `stages`."""

from gigaexec.evaluation.evaluate import evaluate_programs
from gigaexec.evaluation.ranking import Ranking, rank
from gigaexec.evaluation.record import ProgramEvaluation

__all__ = ["ProgramEvaluation", "Ranking", "evaluate_programs", "rank"]
