"""Checks of a stage's options when it is created, and of the extra that stages need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.stages import (
    CallFileFunction,
    CallProgramFunction,
    CallProgramFunctionWithFixedArgs,
    CallValidatorFunction,
    PythonCodeExecutor,
    RuntimeFitnessStage,
    StageRegistry,
)


@pytest.mark.parametrize("stage", [CallFileFunction, CallValidatorFunction])
def test_r81_a_missing_file_raises_when_the_stage_is_made(
    tmp_path: Path, stage: Callable[[Path], object]
) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.py: cannot be read: No such file"):
        stage(tmp_path / "nothing.py")


def test_r81_an_undecodable_file_raises_when_the_stage_is_made(tmp_path: Path) -> None:
    (tmp_path / "validate.py").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"validate\.py: not Python source text"):
        CallValidatorFunction("validate.py", folder=tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PythonCodeExecutor(timeout=0), "timeout must be a positive number of seconds, not 0"),
        (lambda: PythonCodeExecutor(timeout=float("nan")), "timeout must be"),
        (lambda: PythonCodeExecutor(timeout=True), "timeout must be"),
        (lambda: PythonCodeExecutor(function_name=""), "function_name must be the name of a function"),
        (lambda: CallProgramFunction(python_path="/tmp"), "python_path must be a list of folders"),
        (lambda: CallProgramFunction(python_path=3), "python_path must be a list of folders"),  # type: ignore
        (lambda: CallProgramFunctionWithFixedArgs(args=5), "args must be a list, not 5"),  # type: ignore
        (lambda: CallProgramFunctionWithFixedArgs(args="ab"), "args must be a list, not 'ab'"),
        (lambda: CallProgramFunctionWithFixedArgs(kwargs=[1]), "kwargs must map names"),  # type: ignore
        (lambda: CallFileFunction(3), "path must be the name of a file, not 3"),  # type: ignore
        (lambda: RuntimeFitnessStage(timed_runs=0), "timed_runs must be a positive whole number"),
        (lambda: RuntimeFitnessStage(warmup_runs=-1), "warmup_runs must be a whole number, at least 0"),
    ],
)
def test_r80_wrong_options_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_r81_a_file_imports_from_its_own_folder_first(tmp_path: Path) -> None:
    (tmp_path / "context.py").write_text("def build_context(): return 1\n")
    stage = CallFileFunction("context.py", folder=tmp_path, python_path=["/elsewhere"])
    assert stage.python_path == (str(tmp_path), "/elsewhere")


def test_r83_an_option_that_a_constructor_cannot_use_is_a_configuration_error() -> None:
    class Halves(PythonCodeExecutor):
        def __init__(self, *, share: Any) -> None:
            super().__init__(timeout=10 / share)

    registry = StageRegistry()
    registry.register(Halves)
    with pytest.raises(ConfigurationError, match="Halves: unsupported operand"):
        registry.create("Halves", {"share": "half"})


def test_r82_a_clock_that_does_not_tick_makes_no_infinite_fitness() -> None:
    output = RuntimeFitnessStage(timed_runs=1).parse_output(([0], None), None)
    assert output.metrics["fitness"] == pytest.approx(1e9)


def test_r80_defaults() -> None:
    assert PythonCodeExecutor().function_name == "run_code"
    assert CallProgramFunction().function_name == "run_code"


@pytest.mark.parametrize(
    "statement",
    [
        "import gigaexec.stages",
        "import gigaexec.problems",
        "import gigaexec.evaluation.stages",
        "import gigaexec.evaluation.problems",
        "from gigaexec.evaluation import evaluate_programs",
    ],
)
@pytest.mark.parametrize(("missing", "package"), [("pydantic", "pydantic"), ("yaml", "PyYAML")])
def test_a_missing_extra_is_named(statement: str, missing: str, package: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last_line = done.stderr.strip().splitlines()[-1]
    assert "MissingExtraError" in last_line
    assert f'need {package}, which is not installed: pip install "gigaexec[stages]"' in last_line
