"""Evaluate many programs in real workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import ExecutionMetrics, Outcome, OutcomeStatus, WorkerCall
from gigaexec.config import WorkerConfig
from gigaexec.errors import ConfigurationError, SpillError, WorkerStartError
from gigaexec.evaluation import ProgramEvaluation, evaluate_programs
from gigaexec.evaluation.problems import MetricSpec, MetricsSpec, Problem
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import ProgramStageResult, StageError, StageState
from gigaexec.evaluation.verdict import judge_results

_VALIDATE = """
def validate(context, payload):
    return {"total": payload + context, "extra": 1}, "artifact"
"""


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    (tmp_path / "metrics.yaml").write_text("specs: {total: {is_primary: true, higher_is_better: true}}\n")
    (tmp_path / "task_description.txt").write_text("Return a number.")
    (tmp_path / "validate.py").write_text(_VALIDATE)
    (tmp_path / "context.py").write_text("def build_context(): return 100\n")
    return Problem.load(tmp_path)


@pytest.fixture
def backend() -> Iterator[LokyBackend]:
    made = LokyBackend(replace(WorkerConfig.from_env(), max_workers=2))
    yield made
    made.shutdown_now(wait=True)


async def _collect(problem: Problem, programs: Any, **options: Any) -> dict[str, ProgramEvaluation]:
    options = {"timeout_s": 30.0, **options}
    return {one.name: one async for one in evaluate_programs(problem, programs, **options)}


def test_r84_r85_valid_failed_and_unreadable_programs(
    problem: Problem, backend: LokyBackend, tmp_path: Path
) -> None:
    (tmp_path / "file.py").write_text("def entrypoint(context): return 1\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\x00")
    programs = [
        tmp_path / "file.py",
        tmp_path / "binary.py",
        Program("def entrypoint(context):\n    print('words')\n    return 1 / 0\n", name="raises"),
        Program("def entrypoint(context):\n    return 'text'\n", name="refused"),
        Program("def entrypoint(context):\n    while True: pass\n", name="endless"),
        Program("import os\ndef entrypoint(context): os._exit(3)\n", name="exits"),
    ]
    found = asyncio.run(_collect(problem, programs, backend=backend, timeout_s=3.0))
    assert len(found) == len(programs)
    good = found["file"]
    assert (good.is_valid, good.metrics, good.artifact) == (True, {"total": 101.0, "extra": 1.0}, "artifact")
    assert good.path == tmp_path / "file.py"
    assert good.wall_time_s is not None
    assert good.peak_rss_kb is not None
    statuses = {name: one.status for name, one in found.items() if name != "file"}
    assert statuses == {
        "binary": OutcomeStatus.ERROR,
        "raises": OutcomeStatus.ERROR,
        "refused": OutcomeStatus.ERROR,
        "endless": OutcomeStatus.TIMED_OUT,
        "exits": OutcomeStatus.CRASHED,
    }
    for name in statuses:
        assert not found[name].is_valid
        assert found[name].metrics["total"] == -1e5
        assert found[name].reason
        assert "\n" not in found[name].reason
    assert found["raises"].reason == "ZeroDivisionError: division by zero"
    assert "words" in found["raises"].detail
    assert found["refused"].failed_stage == "validate"
    assert found["refused"].reason.startswith("validate: TypeError")
    assert found["endless"].run_time_s >= 3.0


def test_generator_is_taken_from_as_programs_finish(problem: Problem, backend: LokyBackend) -> None:
    taken = 0

    def many() -> Iterator[Program]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield Program(f"def entrypoint(context): return {number}", name=str(number))

    async def main() -> int:
        done, most_ahead = 0, 0
        async for one in evaluate_programs(problem, many(), timeout_s=30.0, backend=backend, max_in_flight=3):
            assert one.is_valid
            most_ahead = max(most_ahead, taken - done)
            done += 1
        assert done == 40
        return most_ahead

    assert asyncio.run(main()) <= 3


def test_r35_closing_early_leaves_no_call_running(
    problem: Problem, backend: LokyBackend, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    quick = Program(
        f"""
import pathlib, time
def entrypoint(context):
    while not pathlib.Path({str(pid_file)!r}).exists():
        time.sleep(0.01)
    return 1
""",
        name="quick",
    )
    endless = Program(
        f"""
import os, pathlib
def entrypoint(context):
    pathlib.Path({str(pid_file)!r} + "~").write_text(str(os.getpid()))
    os.rename({str(pid_file)!r} + "~", {str(pid_file)!r})
    while True: pass
""",
        name="endless",
    )

    async def main() -> None:
        evaluations = evaluate_programs(problem, [endless, quick], timeout_s=600.0, backend=backend)
        async with aclosing(evaluations):
            async for one in evaluations:
                assert one.name == "quick"
                break
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []
        # A killed process exists until its parent, the backend of this test, has reaped it.
        pid = int(pid_file.read_text())
        async with asyncio.timeout(20):
            while psutil.pid_exists(pid):
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_infrastructure_failure_is_not_held_against_the_program(tmp_path: Path, problem: Problem) -> None:
    class Broken:
        async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
            if call.function_name == "build_context":
                return 0
            raise WorkerStartError("no process for you")

        async def shutdown(self, *, wait: bool = False) -> None:
            pass

    [found] = asyncio.run(_collect(problem, [Program("", name="p")], backend=Broken())).values()
    assert (found.status, found.was_judged, found.is_valid) == (OutcomeStatus.INFRASTRUCTURE, False, False)
    assert found.metrics == {}
    assert found.reason == "no process for you"


def test_r85_a_failed_side_stage_is_reported_with_the_verdict(problem: Problem, backend: LokyBackend) -> None:
    (problem.path / "plot.py").write_text("def plot(payload): return 1 / 0\n")
    (problem.path / "pipeline.yaml").write_text(
        """
stages:
  plot:
    stage: CallFileFunction
    options: {path: plot.py, function_name: plot}
    inputs: {payload: call.value}
  call: {stage: CallProgramFunction, options: {function_name: entrypoint}, inputs: {context: context}}
  validate:
    stage: CallValidatorFunction
    options: {path: validate.py}
    inputs: {context: context, payload: call.value}
  metrics: {stage: FetchMetrics, inputs: {validation: validate}}
"""
    )
    program = Program("def entrypoint(context): return 1", name="p")
    [found] = asyncio.run(_collect(Problem.load(problem.path), [program], backend=backend)).values()
    assert (found.is_valid, found.status) == (True, OutcomeStatus.OK)
    assert found.side_failures == {"plot": "ZeroDivisionError: division by zero"}
    assert '"side_failures": {"plot": "ZeroDiv' in found.to_json()


def test_r85_a_file_that_cannot_be_read_is_not_judged(
    tmp_path: Path, problem: Problem, backend: LokyBackend
) -> None:
    path = tmp_path / "removed.py"
    [found] = asyncio.run(_collect(problem, [path], backend=backend)).values()
    assert (found.status, found.was_judged, found.metrics) == (OutcomeStatus.INFRASTRUCTURE, False, {})
    assert found.reason == f"{path}: cannot be read: No such file or directory"


def test_r85_a_failure_of_the_machine_after_the_call_is_not_held_against_the_program() -> None:
    spent = ExecutionMetrics(9, 1.0, 0.25, 0.5, 1)
    outcome = Outcome(OutcomeStatus.OK, metrics=spent)
    error = StageError.from_exception(SpillError("full"), stage="call")
    call = ProgramStageResult("call", StageState.FAILED, error=error, outcome=outcome)
    spec = MetricsSpec({"total": MetricSpec("total", is_primary=True)})
    found = judge_results(Program("", name="p"), None, {"call": call}, spec, decisive=["call"])
    assert (found.status, found.was_judged, found.metrics) == (OutcomeStatus.INFRASTRUCTURE, False, {})
    assert found.cpu_time_s == 0.75


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_wrong_max_in_flight_is_refused(problem: Problem, limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_in_flight"):
        asyncio.run(_collect(problem, [], max_in_flight=limit))
