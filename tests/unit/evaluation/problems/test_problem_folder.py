"""R84: a problem folder loads, or every mistake in it is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems import Problem, ProblemError, build_pipeline
from gigaexec.evaluation.stages import CallFileFunction, CallValidatorFunction, RuntimeFitnessStage

METRICS = "specs: {score: {is_primary: true, higher_is_better: true}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "squares"
    folder.mkdir()
    (folder / "validate.py").write_text("def validate(payload): return {'score': payload}\n")
    (folder / "metrics.yaml").write_text(METRICS)
    (folder / "task_description.txt").write_text("Return a large number.\n")
    return folder


def test_r84_a_small_problem_is_loaded(folder: Path) -> None:
    problem = Problem.load(str(folder))
    assert (problem.name, problem.description) == ("squares", "Return a large number.")
    assert problem.metrics.primary == "score"
    assert problem.validator_path == folder / "validate.py"
    assert problem.python_path == [str(folder)]
    assert (problem.context_path, problem.pipeline_path, problem.initial_programs) == (None, None, ())


def test_r84_the_optional_parts_are_found(folder: Path) -> None:
    (folder / "context.py").write_text("def build_context(): return 1\n")
    programs = folder / "initial_programs"
    programs.mkdir()
    for name in ("b.py", "c.py", "a.py", "notes.txt", "__init__.py", ".b.py"):
        (programs / name).write_text("")
    problem = Problem.load(folder)
    assert problem.context_path == folder / "context.py"
    assert problem.initial_programs == tuple(programs / f"{name}.py" for name in "abc")


def test_r84_every_mistake_of_a_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_text("specs: {a: {decimals: five}}")
    with pytest.raises(ProblemError) as caught:
        Problem.load(tmp_path)
    assert caught.value.findings == (
        f"{tmp_path} is not a problem folder. Missing: validate.py, task_description.txt",
        f"{tmp_path}/metrics.yaml: specs.a.decimals: expected a whole number from 0 to 30, got 'five'",
        f"{tmp_path}/metrics.yaml: specs: expected exactly one metric with is_primary: true, got none",
    )
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        (
            "validate.py",
            "validate.py is missing (it must define the function validate, which scores the result of a "
            "program)",
        ),
        ("metrics.yaml", "metrics.yaml is missing"),
        ("task_description.txt", "task_description.txt is missing (it describes the task in words)"),
    ],
)
def test_r84_a_missing_file_is_named(folder: Path, name: str, finding: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ProblemError) as caught:
        Problem.load(folder)
    assert str(caught.value) == f"{folder}/{finding}"


def test_r84_a_folder_without_any_file_of_a_problem_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "many").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError) as caught:
        Problem.load("many")
    missing = "validate.py, metrics.yaml, task_description.txt"
    assert str(caught.value) == f"many is not a problem folder. Missing: {missing}"


def test_r84_a_relative_path_makes_a_problem_with_absolute_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "context.py").write_text("def build_context(): return 1\n")
    assert Problem.load(folder.name) == Problem.load(folder)


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("def validated(payload): return {}\n", "validate.py: expected a function validate, found none"),
        ("import math\ndef validate(:\n", "validate.py:2: not valid Python: invalid syntax"),
        ("return 1\n", "validate.py:1: not valid Python: 'return' outside function"),
    ],
)
def test_r84_a_validator_that_would_fail_every_program_is_refused(
    folder: Path, source: str, finding: str
) -> None:
    (folder / "validate.py").write_text(source)
    (folder / "context.py").write_text("")
    with pytest.raises(ProblemError) as caught:
        Problem.load(folder)
    assert caught.value.findings == (
        f"{folder}/context.py: expected a function build_context, found none",
        f"{folder}/{finding}",
    )


@pytest.mark.parametrize(
    "source",
    [
        "from checks import *",
        "from checks import check as validate",
        "validate = lambda payload: {}",
        "globals()['vali' + 'date'] = dict",
    ],
)
def test_r84_a_validator_may_be_defined_in_any_way(folder: Path, source: str) -> None:
    (folder / "validate.py").write_text(source)
    Problem.load(folder)


def test_r84_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"no such folder: .*missing"):
        Problem.load(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(ProblemError, match="file is not a folder"):
        Problem.load(tmp_path / "file")


def test_r84_the_default_pipeline_has_a_context_if_the_problem_has_one(folder: Path) -> None:
    pipeline = build_pipeline(Problem.load(folder), timeout_s=3)
    assert list(pipeline.stages) == ["call", "validate", "metrics"]
    assert pipeline.initial == frozenset()
    validator = pipeline.stages["validate"]
    assert isinstance(validator, CallValidatorFunction)
    assert (validator.timeout_s, validator.python_path) == (3.0, (str(folder),))
    (folder / "context.py").write_text("def build_context(): return 1\n")
    assert build_pipeline(Problem.load(folder), timeout_s=3).initial == {"context"}


PIPELINE = """
stages:
  call:
    stage: RuntimeFitnessStage
    options: {function_name: entrypoint, timed_runs: 3, timeout: 20}
  validate:
    stage: CallValidatorFunction
    options: {path: validate.py}
    inputs: {payload: call.value}
  metrics:
    stage: FetchMetrics
    inputs: {validation: validate, measured: call.metrics}
"""


def test_r82_r83_a_folder_can_describe_its_own_stages(folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE)
    pipeline = build_pipeline(Problem.load(folder), timeout_s=3)
    timing, validator = pipeline.stages["call"], pipeline.stages["validate"]
    assert isinstance(timing, RuntimeFitnessStage)
    assert isinstance(validator, CallFileFunction)
    assert (timing.timed_runs, timing.timeout_s, timing.python_path) == (3, 20.0, (str(folder),))
    assert (validator.path, validator.timeout_s) == (folder / "validate.py", 3.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("RuntimeFitnessStage", "RuntimeStage", "stages.call: unknown stage 'RuntimeStage'; did you mean"),
        ("timed_runs", "repeats", "stages.call: unknown option of RuntimeFitnessStage 'repeats'"),
        ("timed_runs: 3", "timed_runs: 0", "stages.call: timed_runs must be a positive whole number"),
        ("validate.py", "nothing.py", r"stages.validate: .*nothing\.py: cannot be read"),
        ("  metrics:", "  scores:", "expected a stage named metrics, whose output has the field metrics"),
        ("payload:", "context: context, payload:", "validate: unknown source 'context'"),
    ],
)
def test_r83_a_mistake_in_pipeline_yaml_is_reported_with_its_place(
    folder: Path, old: str, new: str, message: str
) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE.replace(old, new))
    with pytest.raises(ProblemError, match=message) as caught:
        build_pipeline(Problem.load(folder), timeout_s=3)
    assert str(folder / "pipeline.yaml") in str(caught.value)
