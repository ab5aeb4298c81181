"""R80-R82: stages that call functions in real workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import OutcomeStatus, WorkerCall
from gigaexec.config import WorkerConfig
from gigaexec.errors import CallTimeoutError, SpillError, WorkerStartError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import (
    CallFileFunction,
    CallProgramFunction,
    CallProgramFunctionWithFixedArgs,
    CallValidatorFunction,
    ProgramStageResult,
    PythonCodeExecutor,
    RuntimeFitnessStage,
    RuntimeOutput,
    Stage,
    StageError,
    StageModel,
    StageState,
    ValidationOutput,
    ValueOutput,
)

TIMEOUT_S = 60.0


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[LokyBackend]:
    backend = LokyBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))
    yield backend
    asyncio.run(backend.shutdown(wait=True))


def run(stage: Stage, code: str, backend: Any, inputs: Mapping[str, Any] | None = None) -> ProgramStageResult:
    return asyncio.run(stage.run(Program(code=code), inputs, backend=backend))


def value_of(result: ProgramStageResult) -> Any:
    assert result.error is None
    assert isinstance(result.output, ValueOutput)
    return result.output.value


def error_of(result: ProgramStageResult) -> StageError:
    assert result.status is StageState.FAILED
    assert result.output is None
    assert result.error is not None
    return result.error


def test_r80_a_stage_calls_a_function_and_reports_its_cost(backend: LokyBackend) -> None:
    result = run(PythonCodeExecutor(timeout=TIMEOUT_S), "def run_code(): return 6 * 7", backend)
    assert value_of(result) == 42
    assert result.outcome is not None
    assert result.outcome.metrics is not None
    assert result.duration_s >= result.outcome.metrics.wall_time_s > 0


def test_r80_the_call_sees_the_id_of_the_program(backend: LokyBackend) -> None:
    code = (
        "import os\n"
        "def run_code():\n"
        "    return os.environ['GIGAEVO_PROGRAM_ID'], os.environ['GIGAEVO_PROGRAM_ID_SHORT']\n"
    )
    program = Program(code=code)
    result = asyncio.run(PythonCodeExecutor(timeout=TIMEOUT_S).run(program, backend=backend))
    assert value_of(result) == (program.id, program.id[:8])


def test_r80_python_path_is_importable(backend: LokyBackend, tmp_path: Path) -> None:
    (tmp_path / "answer.py").write_text("VALUE = 42\n")
    stage = PythonCodeExecutor(python_path=[tmp_path], timeout=TIMEOUT_S)
    assert value_of(run(stage, "import answer\ndef run_code(): return answer.VALUE", backend)) == 42


@pytest.mark.parametrize(
    ("code", "error_type", "message", "status"),
    [
        ("def run_code():\n    return 1 / 0", "ExecRunnerError", "ZeroDivisionError", OutcomeStatus.ERROR),
        ("def run_code(:", "ExecRunnerError", "SyntaxError", OutcomeStatus.ERROR),
        ("x = 1", "ExecRunnerError", "run_code", OutcomeStatus.ERROR),
        ("def run_code():\n    while True: pass", "CallTimeoutError", "", OutcomeStatus.TIMED_OUT),
        ("import os\ndef run_code(): os._exit(3)", "WorkerCrashedError", "3", OutcomeStatus.CRASHED),
        ("def run_code(): return (x for x in [])", "ValueNotPicklableError", "", OutcomeStatus.ERROR),
    ],
)
def test_r80_any_failure_becomes_a_result(
    backend: LokyBackend, code: str, error_type: str, message: str, status: OutcomeStatus
) -> None:
    result = run(PythonCodeExecutor(timeout=1.0), code, backend)
    error = error_of(result)
    assert error.type == error_type
    assert error.stage == "PythonCodeExecutor"
    assert message in error.traceback
    assert "\n" not in error.message
    assert result.outcome is not None
    assert result.outcome.status is status
    assert not result.is_inconclusive


def test_r80_the_timeout_is_the_deadline_of_the_call(backend: LokyBackend) -> None:
    result = run(PythonCodeExecutor(timeout=0.5), "def run_code():\n    while True: pass", backend)
    assert result.outcome is not None
    assert isinstance(result.outcome.error, CallTimeoutError)
    assert result.outcome.error.deadline_s == 0.5


def test_r80_the_traceback_shows_the_programs_own_line(backend: LokyBackend) -> None:
    error = error_of(run(PythonCodeExecutor(), "def run_code():\n    return [][3]  # here", backend))
    assert "return [][3]  # here" in error.traceback
    assert "IndexError" in error.message


class Doubled(PythonCodeExecutor):
    """A stage that doubles the program's text in a worker and parses the value as a number."""

    def code_for(self, program: Program, inputs: Any) -> str:
        return "def run_code(text, *, times): return text * times"

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        return [program.code], {"times": 2}

    def parse_output(self, value: Any, inputs: Any) -> StageModel:
        return ValueOutput(value=int(value))


def test_r80_subclasses_choose_code_arguments_and_output(backend: LokyBackend) -> None:
    assert value_of(run(Doubled(), "12", backend)) == 1212


def test_r80_a_hook_that_raises_makes_the_stage_fail_and_keeps_the_outcome(backend: LokyBackend) -> None:
    result = run(Doubled(), "x", backend)
    error = error_of(result)
    assert (error.type, error.message) == (
        "ValueError",
        "invalid literal for int() with base 10: 'xx'",
    )
    assert result.outcome is not None
    assert result.outcome.value == "xx"


def test_r80_an_argument_that_cannot_be_pickled_again_is_the_programs_fault(
    backend: LokyBackend, tmp_path: Path
) -> None:
    code = """
class Trap:
    def __reduce__(self):
        return eval, ("(x for x in [])",)

def run_code():
    return Trap()
"""
    payload = value_of(run(PythonCodeExecutor(), code, backend))
    stage = validator(tmp_path, "def validate(payload): return {'score': 1}")
    result = run(stage, "", backend, {"payload": payload})
    assert error_of(result).type == "InvalidCallError"
    assert not result.is_inconclusive


class NoWorkers:
    """A backend that cannot start a worker."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        raise WorkerStartError("no process can be started")

    async def shutdown(self, *, wait: bool = False) -> None:
        return None


def test_r80_a_failure_of_the_machine_is_not_the_programs() -> None:
    result = run(PythonCodeExecutor(), "def run_code(): return 1", NoWorkers())
    error = error_of(result)
    assert (error.type, error.message) == ("WorkerStartError", "no process can be started")
    assert result.is_inconclusive
    assert result.outcome is not None
    assert result.outcome.status is OutcomeStatus.INFRASTRUCTURE


@pytest.mark.parametrize("error", [ConnectionError("gone"), OSError("full"), MemoryError(), RuntimeError()])
def test_r80_whatever_else_a_backend_raises_is_not_the_programs(error: Exception) -> None:
    class Broken(NoWorkers):
        async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
            raise error

        async def run(self, call: WorkerCall, *, deadline_s: float, queue_timeout_s: float | None) -> Any:
            raise error

    result = run(PythonCodeExecutor(), "def run_code(): return 1", Broken())
    assert result.is_inconclusive
    assert result.outcome is not None
    assert result.outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert type(error).__name__ in error_of(result).traceback


class Unlucky(PythonCodeExecutor):
    """A stage whose parse_output raises SpillError after the call succeeded."""

    def parse_output(self, value: Any, inputs: Any) -> StageModel:
        raise SpillError("disk full")


def test_r80_a_hook_that_the_machine_fails_is_not_the_programs_fault(backend: LokyBackend) -> None:
    result = run(Unlucky(), "def run_code(): return 1", backend)
    assert result.is_inconclusive
    assert result.outcome is not None
    assert result.outcome.ok


COUNT_ARGUMENTS = "def entrypoint(*args, **kwargs): return args, kwargs"


def test_r81_the_context_is_the_only_argument_if_there_is_one(backend: LokyBackend) -> None:
    stage = CallProgramFunction(function_name="entrypoint")
    assert value_of(run(stage, COUNT_ARGUMENTS, backend)) == ((), {})
    assert value_of(run(stage, COUNT_ARGUMENTS, backend, {"context": [1]})) == (([1],), {})
    assert value_of(run(stage, COUNT_ARGUMENTS, backend, {"context": None})) == ((None,), {})


def test_r81_fixed_arguments(backend: LokyBackend) -> None:
    stage = CallProgramFunctionWithFixedArgs(args=[1, 2], kwargs={"c": 3}, function_name="entrypoint")
    assert value_of(run(stage, COUNT_ARGUMENTS, backend)) == ((1, 2), {"c": 3})


def test_r81_a_file_is_read_once_and_imports_from_its_folder(backend: LokyBackend, tmp_path: Path) -> None:
    (tmp_path / "numbers_beside.py").write_text("BEST = 7\n")
    path = tmp_path / "context.py"
    path.write_text("import numbers_beside\ndef build_context(): return numbers_beside.BEST\n")
    stage = CallFileFunction(path)
    path.write_text("def build_context(): return 'changed later'\n")
    assert value_of(run(stage, "", backend)) == 7


def test_r81_a_file_function_takes_a_payload(backend: LokyBackend, tmp_path: Path) -> None:
    (tmp_path / "plot.py").write_text("def plot(payload): return ['plot', payload]\n")
    stage = CallFileFunction("plot.py", folder=tmp_path, function_name="plot")
    assert value_of(run(stage, "", backend, {"payload": None})) == ["plot", None]


def validator(tmp_path: Path, source: str) -> CallValidatorFunction:
    path = tmp_path / "validate.py"
    path.write_text(source)
    return CallValidatorFunction(path)


def test_r81_a_validator_is_called_with_the_payload_or_with_context_and_payload(
    backend: LokyBackend, tmp_path: Path
) -> None:
    alone = validator(tmp_path, "def validate(payload): return {'score': payload}")
    both = validator(tmp_path, "def validate(context, payload): return {'score': payload - context}")
    assert run(alone, "", backend, {"payload": 5}).output == ValidationOutput(metrics={"score": 5})
    assert run(both, "", backend, {"payload": 5, "context": 2}).output == ValidationOutput(
        metrics={"score": 3}
    )


def test_r81_a_validator_may_add_an_artifact(backend: LokyBackend, tmp_path: Path) -> None:
    stage = validator(tmp_path, "def validate(payload): return {'score': 1}, [payload]")
    assert run(stage, "", backend, {"payload": 5}).output == ValidationOutput(
        metrics={"score": 1}, artifact=[5]
    )


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        ("None", "returned None; expected a dict of metrics, or a tuple of that dict and an artifact"),
        ("0.5", "returned float: 0.5; expected"),
        ("({'a': 1}, 2, 3)", "returned a tuple of 3 (dict, int, int); expected"),
        ("(1, {'a': 1})", "returned a tuple of 2 (int, dict); expected"),
        ("[{'a': 1}, 2]", "returned list: [{'a': 1}, 2]; expected"),
        ("{1: 2}", "returned metrics whose names are not strings: [1]"),
        ("'x' * 10**6", "returned str: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx...; expected"),
    ],
)
def test_r81_any_other_value_of_a_validator_is_an_error_that_describes_it(
    backend: LokyBackend, tmp_path: Path, returned: str, described: str
) -> None:
    result = run(
        validator(tmp_path, f"def validate(payload): return {returned}"), "", backend, {"payload": 0}
    )
    error = error_of(result)
    assert error.type == "StageOutputError"
    assert error.message.startswith(f"validate.py: validate {described}")


BUSY = """
import time
time.sleep(0.3)

def f(context):
    end = time.perf_counter() + context
    while time.perf_counter() < end:
        pass
    return context
"""


def test_r82_the_median_of_the_timed_runs_is_the_fitness(backend: LokyBackend) -> None:
    stage = RuntimeFitnessStage(function_name="f", warmup_runs=2, timed_runs=3)
    result = run(stage, BUSY, backend, {"context": 0.01})
    assert isinstance(result.output, RuntimeOutput)
    metrics = result.output.metrics
    assert list(metrics) == ["execution_time_sec", "fitness", "warmup_runs", "timed_runs"]
    assert metrics["execution_time_sec"] == sorted(result.output.run_times_s)[1]
    # Importing the program takes 0.3 s; only the function is timed.
    assert 0.01 <= metrics["execution_time_sec"] < 0.3
    assert metrics["fitness"] == 1 / metrics["execution_time_sec"]
    assert (metrics["warmup_runs"], metrics["timed_runs"]) == (2, 3)
    assert result.output.value == 0.01
    assert result.outcome is not None
    assert result.outcome.metrics is not None
    assert result.outcome.metrics.wall_time_s >= sum(result.output.run_times_s)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(): raise KeyError('gone')", "def f(): raise KeyError('gone')"),
        ("def g(): pass", "the program defines no function 'f'"),
    ],
)
def test_r82_a_failure_of_a_timed_run_is_a_failure_of_the_program(
    backend: LokyBackend, code: str, message: str
) -> None:
    error = error_of(run(RuntimeFitnessStage(function_name="f"), code, backend))
    assert error.type == "ExecRunnerError"
    assert message in error.traceback
