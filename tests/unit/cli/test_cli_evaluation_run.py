"""Recorded results and exit status of one `gigaexec evaluate` run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gigaexec.cli.evaluation_run import EvaluationRun
from gigaexec.cli.results_file import ResultsFile
from gigaexec.evaluation import ProgramEvaluation
from gigaexec.evaluation.problems import Problem


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    folder = tmp_path / "problem"
    folder.mkdir()
    (folder / "validate.py").write_text("def validate(payload): return {'total': payload}\n")
    (folder / "metrics.yaml").write_text(
        "specs: {total: {description: sum, is_primary: true, higher_is_better: true}}\n"
    )
    (folder / "task_description.txt").write_text("Return a number.")
    return Problem.load(folder)


def test_r85_record_that_json_cannot_hold_loses_its_further_metrics_and_no_more(
    problem: Problem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    further: dict[str, object] = {("no", "name"): 1.0}  # type: ignore[dict-item]
    odd = ProgramEvaluation("odd", "id", is_valid=True, metrics={"total": 2.0, **further})
    good = ProgramEvaluation("good", "id", is_valid=True, metrics={"total": 1.0})
    with ResultsFile(tmp_path, overwrite=False) as results:
        run = EvaluationRun(problem, [], results, prints_json=False)
        for evaluation in (odd, good):
            run._record(evaluation)
    lines = [json.loads(line) for line in results.path.read_text().splitlines()]
    assert [(line["name"], line["metrics"]) for line in lines] == [
        ("odd", {"total": 2.0}),
        ("good", {"total": 1.0}),
    ]
    assert "odd: the metrics that metrics.yaml does not specify are left out of the JSON" in caplog.text
    assert run.exit_code == 0
