"""The programs that a command line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaexec.cli.evaluate import programs_to_evaluate
from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems import Problem

NAMES = ("b.py", "a.py", "__init__.py", ".b.py", "notes.txt")


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    folder = tmp_path / "problem"
    folder.mkdir()
    (folder / "validate.py").write_text("def validate(payload): return {'score': payload}\n")
    (folder / "metrics.yaml").write_text("specs: {score: {is_primary: true, higher_is_better: true}}\n")
    (folder / "task_description.txt").write_text("Return a large number.\n")
    return Problem.load(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "candidates"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text("def entrypoint(): return 1\n")
    (folder / "package.py").mkdir()
    return folder


def test_a_folder_gives_the_programs_that_initial_programs_would(problem: Problem, folder: Path) -> None:
    assert programs_to_evaluate(problem, [folder]) == [folder / "a.py", folder / "b.py"]


def test_a_file_that_is_named_is_taken_whatever_its_name(problem: Problem, folder: Path) -> None:
    named = [folder / "__init__.py", folder / ".b.py"]
    assert programs_to_evaluate(problem, named) == named


def test_a_folder_without_programs_is_a_mistake(problem: Problem, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    with pytest.raises(ConfigurationError, match=r"no programs \(\*\.py\) in .*package"):
        programs_to_evaluate(problem, [folder])
