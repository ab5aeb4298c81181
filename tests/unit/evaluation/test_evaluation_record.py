"""R85: evaluations as lines of JSON, and their ranking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gigaexec.calls import OutcomeStatus
from gigaexec.evaluation import ProgramEvaluation, rank
from gigaexec.evaluation.problems import MetricSpec, MetricsSpec


def _metrics(*, higher_is_better: bool) -> MetricsSpec:
    return MetricsSpec(
        {
            "other": MetricSpec("other"),
            "score": MetricSpec("score", is_primary=True, higher_is_better=higher_is_better),
        }
    )


def _evaluated(name: str, score: float, *, is_valid: bool = True, **more: Any) -> ProgramEvaluation:
    return ProgramEvaluation(name, f"id-{name}", is_valid=is_valid, metrics={"score": score}, **more)


@pytest.mark.parametrize(
    ("higher_is_better", "expected"), [(True, ["c", "a", "b", "d"]), (False, ["d", "a", "b", "c"])]
)
def test_r85_valid_programs_rank_by_the_primary_metric_ties_by_name(
    higher_is_better: bool, expected: list[str]
) -> None:
    given_order = [_evaluated("b", 1.0), _evaluated("d", -2.0), _evaluated("a", 1.0), _evaluated("c", 3.0)]
    ranking = rank(given_order, _metrics(higher_is_better=higher_is_better))
    assert [evaluation.name for evaluation in ranking.valid] == expected


def test_r85_failed_and_unjudged_programs_have_no_rank() -> None:
    evaluations = [
        _evaluated("lost", 0.0, is_valid=False, status=OutcomeStatus.INFRASTRUCTURE),
        _evaluated("withdrawn", 0.0, is_valid=False, status=OutcomeStatus.CANCELLED),
        _evaluated("refused", -1e5, is_valid=False),
        _evaluated("crashed", -1e5, is_valid=False, status=OutcomeStatus.CRASHED),
        _evaluated("fine", -1e6),
    ]
    ranking = rank(evaluations, _metrics(higher_is_better=True))
    assert [one.name for one in ranking.valid] == ["fine"]
    assert [one.name for one in ranking.invalid] == ["crashed", "refused"]
    assert [one.name for one in ranking.not_judged] == ["lost", "withdrawn"]
    assert len(ranking) == 5


def test_json_writes_values_that_json_cannot_represent() -> None:
    metrics = {"score": 1.0, "loss": float("nan"), "set": {1}, "list": [1, 2]}
    evaluation = ProgramEvaluation("p", "id", path=Path("/x/p.py"), is_valid=True, metrics=metrics)
    found = json.loads(evaluation.to_json())
    assert found["metrics"] == {"score": 1.0, "loss": None, "set": "{1}", "list": [1, 2]}
    assert found["path"] == "/x/p.py"


@given(
    reason=st.text(st.characters()), name=st.text(), score=st.floats(allow_nan=False, allow_infinity=False)
)
def test_json_is_one_printable_line_that_reads_back(reason: str, name: str, score: float) -> None:
    evaluation = ProgramEvaluation(name, "id", metrics={"score": score}, reason=reason, detail=reason)
    line = evaluation.to_json()
    assert line.isprintable()
    found = json.loads(line)
    assert (found["reason"], found["name"], found["metrics"]["score"]) == (reason, name, score)
