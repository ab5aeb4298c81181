"""R84, R85: whole problem folders, evaluated in real workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import WorkerCall
from gigaexec.config import WorkerConfig
from gigaexec.errors import WorkerStartError
from gigaexec.evaluation.problems import ContextError, Problem, ProblemError, build_pipeline, load_context
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import (
    MetricsOutput,
    ProgramStageResult,
    StageState,
    ValidationOutput,
    first_failure,
)

TIMEOUT_S = 60.0

FILES = {
    "metrics.yaml": "specs: {total: {is_primary: true, higher_is_better: true, upper_bound: 100}}\n",
    "task_description.txt": "Return a point whose coordinates have a large sum.\n",
    "geometry.py": "from dataclasses import dataclass\n\n@dataclass\nclass Limits:\n    size: int\n",
    "context.py": "from geometry import Limits\n\ndef build_context():\n    return Limits(size=3)\n",
    "validate.py": """
import geometry

def validate(context, payload):
    assert type(context).__name__ == geometry.Limits.__name__
    if len(payload) != context.size:
        raise ValueError(f"expected {context.size} numbers, got {len(payload)}")
    return {"total": sum(payload), "is_valid": 1, "largest": max(payload)}, {"point": payload}
""",
    "initial_programs/ones.py": "def entrypoint(context):\n    return [1.0] * context.size\n",
}


@pytest.fixture
def backend(spill_dir: Path) -> Iterator[LokyBackend]:
    backend = LokyBackend(WorkerConfig(max_workers=2, spill_dir=spill_dir))
    yield backend
    asyncio.run(backend.shutdown(wait=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return tmp_path


async def evaluate(folder: Path, code: str, backend: Any) -> dict[str, ProgramStageResult]:
    problem = Problem.load(folder)
    initial = {}
    if problem.context_path:
        initial["context"] = await load_context(problem, backend=backend, timeout_s=TIMEOUT_S)
    pipeline = build_pipeline(problem, timeout_s=TIMEOUT_S)
    return await pipeline.run(Program(code=code), backend=backend, initial=initial)


def test_r84_a_folder_with_context_helper_and_artifact_is_evaluated(
    backend: LokyBackend, folder: Path
) -> None:
    problem = Problem.load(folder)
    program = Program.from_file(problem.initial_programs[0])
    results = asyncio.run(evaluate(folder, program.code, backend))
    assert first_failure(results) is None
    validation, metrics = results["validate"].output, results["metrics"].output
    assert isinstance(validation, ValidationOutput)
    assert validation.artifact == {"point": [1.0, 1.0, 1.0]}
    assert isinstance(metrics, MetricsOutput)
    verdict = problem.metrics.judge(metrics.metrics)
    assert verdict.is_valid
    assert verdict.values == {"total": 3.0, "is_valid": 1.0, "largest": 1.0}


def test_r84_a_folder_without_context_is_evaluated(backend: LokyBackend, folder: Path) -> None:
    (folder / "context.py").unlink()
    (folder / "validate.py").write_text("def validate(payload): return {'total': payload}\n")
    results = asyncio.run(evaluate(folder, "def entrypoint(): return 4", backend))
    assert results["metrics"].output == MetricsOutput(metrics={"total": 4})


def test_r84_programs_can_import_the_helpers_and_return_their_objects(
    backend: LokyBackend, folder: Path
) -> None:
    (folder / "validate.py").write_text(
        "def validate(context, payload): return {'total': payload.size + payload.nested().value}\n"
    )
    code = """
from geometry import Limits

class Larger(Limits):
    def nested(self):
        class Inner:
            value = 1
        return Inner()

def entrypoint(context):
    return Larger(size=context.size * 2)
"""
    results = asyncio.run(evaluate(folder, code, backend))
    assert first_failure(results) is None
    assert results["metrics"].output == MetricsOutput(metrics={"total": 7})


def test_r85_a_value_that_the_validator_refuses_skips_the_rest(backend: LokyBackend, folder: Path) -> None:
    results = asyncio.run(evaluate(folder, "def entrypoint(context): return [1]", backend))
    assert [result.status for result in results.values()] == [
        StageState.COMPLETED,
        StageState.FAILED,
        StageState.SKIPPED,
    ]
    failure = first_failure(results)
    assert failure is not None
    assert failure.error is not None
    assert (failure.stage, failure.error.message) == ("validate", "ValueError: expected 3 numbers, got 1")


PIPELINE = """
stages:
  call:
    stage: RuntimeFitnessStage
    options: {function_name: entrypoint, warmup_runs: 1, timed_runs: 3}
    inputs: {context: context}
  validate:
    stage: CallValidatorFunction
    options: {path: validate.py}
    inputs: {context: context, payload: call.value}
  metrics:
    stage: FetchMetrics
    inputs: {validation: validate, measured: call.metrics}
"""


def test_r82_r84_a_speed_problem_describes_its_stages(backend: LokyBackend, folder: Path) -> None:
    (folder / "pipeline.yaml").write_text(PIPELINE)
    (folder / "metrics.yaml").write_text(
        "specs: {fitness: {is_primary: true, higher_is_better: true}, execution_time_sec: {unit: s}}\n"
    )
    results = asyncio.run(evaluate(folder, FILES["initial_programs/ones.py"], backend))
    output = results["metrics"].output
    assert isinstance(output, MetricsOutput)
    verdict = Problem.load(folder).metrics.judge(output.metrics)
    assert verdict.is_valid
    assert verdict.values["fitness"] == pytest.approx(1 / verdict.values["execution_time_sec"])
    assert verdict.values["timed_runs"] == 3
    assert verdict.values["total"] == 3


def test_r84_a_failed_context_is_reported_with_its_traceback(backend: LokyBackend, folder: Path) -> None:
    (folder / "context.py").write_text("def build_context():\n    return {}['no data']\n")
    with pytest.raises(ContextError) as caught:
        asyncio.run(load_context(Problem.load(folder), backend=backend, timeout_s=TIMEOUT_S))
    message = str(caught.value)
    assert message.startswith(f"{folder}/context.py: build_context failed: KeyError: 'no data'")
    assert "return {}['no data']" in message


def test_r84_a_context_that_cannot_be_pickled_again_is_the_problems_fault(
    backend: LokyBackend, folder: Path
) -> None:
    (folder / "context.py").write_text(
        """
class Once:
    def __reduce__(self):
        return eval, ("(x for x in [])",)

def build_context():
    return Once()
"""
    )
    with pytest.raises(
        ContextError, match=r"context\.py: the value of build_context cannot be passed to programs"
    ):
        asyncio.run(load_context(Problem.load(folder), backend=backend, timeout_s=TIMEOUT_S))


class NoWorkers:
    """A backend that cannot start a worker."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        raise WorkerStartError("no process can be started")

    async def shutdown(self, *, wait: bool = False) -> None:
        return None


def test_r84_a_context_that_could_not_be_run_is_not_blamed_on_the_problem(folder: Path) -> None:
    with pytest.raises(WorkerStartError, match="no process can be started"):
        asyncio.run(load_context(Problem.load(folder), backend=NoWorkers(), timeout_s=TIMEOUT_S))


def test_r84_a_problem_without_context_has_none_to_load(folder: Path) -> None:
    (folder / "context.py").unlink()
    with pytest.raises(ProblemError, match=r"no context\.py in "):
        asyncio.run(load_context(Problem.load(folder), backend=NoWorkers(), timeout_s=TIMEOUT_S))
