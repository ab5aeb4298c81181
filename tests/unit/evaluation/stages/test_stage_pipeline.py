"""R83: the wiring of stages, their order, and the stages that a failure skips."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.errors import ConfigurationError, SpillDirectoryError, WorkerStartError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import (
    CallProgramFunction,
    CallValidatorFunction,
    ComputedStage,
    FetchArtifact,
    FetchMetrics,
    Pipeline,
    ProgramStageResult,
    Stage,
    StageModel,
    StageOutputError,
    StageRegistry,
    StageState,
    ValidationOutput,
    ValueOutput,
    first_failure,
)

PROGRAM = Program(code="", name="p")


class OptionalInputs(StageModel):
    left: Any = None
    right: Any = None


class Joined(Stage):
    """Join the inputs, or raise an error."""

    inputs_model: ClassVar[type[StageModel]] = OptionalInputs
    output_model: ClassVar[type[StageModel]] = ValueOutput

    def __init__(self, text: str = "", error: Exception | None = None) -> None:
        self.text = text
        self.error = error

    async def compute(
        self, program: Program, inputs: OptionalInputs, backend: ExecutorBackend | None
    ) -> ComputedStage:
        if self.error:
            raise self.error
        return ComputedStage(output=ValueOutput(value=f"{inputs.left or ''}{inputs.right or ''}{self.text}"))


class Meeting(Stage):
    """Complete when two stages have reached the barrier."""

    output_model: ClassVar[type[StageModel]] = ValueOutput

    def __init__(self, barrier: asyncio.Barrier) -> None:
        self.barrier = barrier

    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        await self.barrier.wait()
        return ComputedStage(output=ValueOutput())


def test_values_flow_along_the_inputs() -> None:
    pipeline = Pipeline(
        {"last": Joined("!"), "first": Joined("a")},
        {"last": {"left": "first.value", "right": "context"}},
        initial=["context"],
    )
    results = asyncio.run(pipeline.run(PROGRAM, initial={"context": "b"}))
    assert list(results) == ["first", "last"]
    assert results["last"].output == ValueOutput(value="ab!")
    assert results["last"].error is None
    assert first_failure(results) is None


def test_a_failed_stage_skips_what_depends_on_it_and_nothing_else() -> None:
    pipeline = Pipeline(
        {
            "bad": Joined(error=RuntimeError("no\nluck")),
            "after": Joined(),
            "later": Joined(),
            "free": Joined(),
        },
        {"after": {"left": "bad.value"}, "later": {"left": "after.value", "right": "free"}},
    )
    results = asyncio.run(pipeline.run(PROGRAM))
    assert {name: result.status for name, result in results.items()} == {
        "bad": StageState.FAILED,
        "after": StageState.SKIPPED,
        "later": StageState.SKIPPED,
        "free": StageState.COMPLETED,
    }
    bad, after = results["bad"].error, results["after"].error
    assert bad is not None
    assert after is not None
    assert (bad.type, bad.message, bad.stage) == ("RuntimeError", "no", "bad")
    assert "RuntimeError: no\nluck" in bad.traceback
    assert after.message == "not run: 'bad' did not complete"
    assert first_failure(results) is results["bad"]


def test_independent_stages_run_at_the_same_time() -> None:
    async def run() -> set[StageState]:
        barrier = asyncio.Barrier(2)
        pipeline = Pipeline({"one": Meeting(barrier), "two": Meeting(barrier)})
        results = await asyncio.wait_for(pipeline.run(PROGRAM), timeout=20)
        return {result.status for result in results.values()}

    assert asyncio.run(run()) == {StageState.COMPLETED}


def test_cancelling_a_pipeline_cancels_its_stages() -> None:
    async def run() -> None:
        barrier = asyncio.Barrier(2)
        task = asyncio.create_task(Pipeline({"alone": Meeting(barrier)}).run(PROGRAM))
        while barrier.n_waiting == 0:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert barrier.n_waiting == 0

    asyncio.run(run())


def test_r80_a_withdrawn_call_is_inconclusive() -> None:
    outcome = Outcome(OutcomeStatus.CANCELLED)
    assert ProgramStageResult("call", StageState.FAILED, outcome=outcome).is_inconclusive


@pytest.mark.parametrize("error", [WorkerStartError("no worker"), SpillDirectoryError("not writable")])
def test_r80_a_failure_that_is_not_the_programs_fault_is_inconclusive(error: Exception) -> None:
    pipeline = Pipeline({"mine": Joined(error=ValueError("mine")), "other": Joined(error=error)})
    results = asyncio.run(pipeline.run(PROGRAM))
    assert results["other"].is_inconclusive
    assert results["other"].outcome is not None
    assert results["other"].outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert not results["mine"].is_inconclusive
    assert first_failure(results) is results["other"]


def test_a_cycle_is_refused_when_the_pipeline_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r"form a cycle: (one -> two -> one|two -> one -> two)"):
        Pipeline({"one": Joined(), "two": Joined()}, {"one": {"left": "two"}, "two": {"left": "one.value"}})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"fetch": {"validation": "chek"}}, "fetch: unknown source 'chek'; did you mean 'check'?"),
        ({"fetch": {"validation": "check.valu"}}, "unknown output of 'check' 'valu'; did you mean 'value'?"),
        ({"fetch": {"validation": "check", "x": "check"}}, "fetch: unknown input 'x'"),
        ({}, "fetch: the input 'validation' is missing"),
        ({"fetch": {"validation": "check"}, "fetsh": {}}, "unknown stage in inputs 'fetsh'"),
    ],
)
def test_wrong_wiring_is_refused_when_the_pipeline_is_made(
    inputs: dict[str, dict[str, str]], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Pipeline({"check": Joined(), "fetch": FetchMetrics()}, inputs)
    assert message in str(caught.value)


def test_all_mistakes_of_the_wiring_are_listed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Pipeline({"a.b": Joined(), "c": Joined()}, {"c": {"left": "d", "middle": "c"}})
    message = str(caught.value)
    assert "the stage name 'a.b' contains a dot" in message
    assert "c: unknown source 'd'" in message
    assert "c: unknown input 'middle'" in message


def test_initial_values_must_be_those_that_were_named() -> None:
    pipeline = Pipeline({"one": Joined()}, {"one": {"left": "context"}}, initial=["context"])
    with pytest.raises(ConfigurationError, match=r"takes the initial values \['context'\], not \[\]"):
        asyncio.run(pipeline.run(PROGRAM))
    with pytest.raises(ConfigurationError, match="both a stage and an initial value"):
        Pipeline({"context": Joined()}, initial=["context"])


def test_r81_fetch_stages_take_one_half_each() -> None:
    validation = ValidationOutput(metrics={"score": 1, "fitness": 2}, artifact="picture")
    given = {"validation": validation}
    metrics = asyncio.run(FetchMetrics().run(PROGRAM, {**given, "measured": {"fitness": 3}})).output
    artifact = asyncio.run(FetchArtifact().run(PROGRAM, given)).output
    assert metrics is not None
    assert artifact is not None
    assert metrics.model_dump() == {"metrics": {"score": 1, "fitness": 3}}
    assert artifact.model_dump() == {"artifact": "picture"}


def test_an_input_of_the_wrong_kind_is_the_stages_failure() -> None:
    result = asyncio.run(FetchMetrics().run(PROGRAM, {"validation": 3}))
    assert result.status is StageState.FAILED
    assert result.error is not None
    assert result.error.message.startswith("validation: ")
    assert "FetchMetrics" in result.error.stage


class Rude:
    """Raise SystemExit on any access to an attribute."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit("repr")


def test_r33_a_program_value_as_input_runs_no_code_of_its_class() -> None:
    fine = ValidationOutput(metrics={}, artifact=Rude())
    for inputs in ({"validation": Rude()}, {"validation": fine, "measured": Rude()}):
        error = asyncio.run(FetchMetrics().run(PROGRAM, inputs)).error
        assert error is not None
        assert error.message.endswith("got Rude")


class RudeDict(dict[Any, Any]):
    """Raise SystemExit when used as a dict."""

    def keys(self) -> Any:
        raise SystemExit

    items = __iter__ = __len__ = keys


def test_r33_r81_a_value_of_a_validator_runs_no_code_of_its_class(tmp_path: Path) -> None:
    (tmp_path / "validate.py").write_text("def validate(payload): return payload\n")
    stage = CallValidatorFunction("validate.py", folder=tmp_path)
    for value, message in (
        (Rude(), "returned Rude: <Rude object>; expected"),
        ((Rude(), Rude(), 1), r"returned a tuple of 3 \(Rude, Rude, int\); expected"),
        (RudeDict({1: Rude()}), r"returned metrics whose names are not strings: \[1\]"),
    ):
        with pytest.raises(StageOutputError, match=message):
            stage.parse_output(value, None)
    assert stage.parse_output(RudeDict(a=1), None) == ValidationOutput(metrics={"a": 1})


def test_r33_a_stage_that_exits_fails() -> None:
    class Exits(Joined):
        async def compute(self, program: Program, inputs: Any, backend: Any) -> ComputedStage:
            raise SystemExit(0)

    assert asyncio.run(Exits().run(PROGRAM)).status is StageState.FAILED


def test_r83_a_pipeline_is_made_from_a_description() -> None:
    registry = StageRegistry()
    registry.register(Joined)
    pipeline = Pipeline.from_description(
        {
            "stages": {
                "a": {"stage": "Joined", "inputs": {"left": "context"}},
                "b": {"stage": "Joined", "options": {"text": "."}, "inputs": {"left": "a.value"}},
            }
        },
        initial=["context"],
        defaults={"text": "!", "timeout": 5},
        registry=registry,
    )
    results = asyncio.run(pipeline.run(PROGRAM, initial={"context": "hey"}))
    assert results["b"].output == ValueOutput(value="hey!.")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (
            {"stages": {"a": {"stage": "CallProgramFunktion"}}},
            "stages.a: unknown stage 'CallProgramFunktion'",
        ),
        ({"stages": {"a": {}}}, "stages.a.stage: is missing"),
        ({"stages": {"a": {"stage": 3}}}, "stages.a.stage: expected text, got 3"),
        ({"stages": {"a": {"stage": "A", "input": {}}}}, "unknown key 'input'; did you mean 'inputs'?"),
        ({"stage": {}}, "stages: is missing; unknown key 'stage'; did you mean 'stages'? (known: stages)"),
        (
            {"stages": {"a": {"stage": "FetchMetrics", "timeout": 1}}},
            "stages.a: unknown key 'timeout' (known: stage, options, inputs)",
        ),
        ({"stages": {"a": {"stage": "CallFileFunction"}}}, "missing a required argument: 'path'"),
        (
            {"stages": {"a": {"stage": "CallProgramFunction", "options": {"time": 1}}}},
            "unknown option of CallProgramFunction 'time'; did you mean 'timeout'?",
        ),
        (
            {"stages": {"a": {"stage": "CallProgramFunction", "options": {"timeout": -1}}}},
            "stages.a: timeout must be a positive number of seconds, not -1",
        ),
        (
            {"stages": {"a": {"stage": "A"}, "b": {"stage": "B"}}},
            "stages.a: unknown stage 'A'",
        ),
        (
            {"stages": {"a": {"stage": "A"}, "b": {"stage": "B"}}},
            "; stages.b: unknown stage 'B'",
        ),
        ([], "expected a mapping, got []"),
    ],
)
def test_r83_a_wrong_description_is_refused(description: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_description(description)
    assert message in str(caught.value)


def test_r83_a_name_belongs_to_one_class() -> None:
    registry = StageRegistry()
    registry.register(CallProgramFunction)
    registry.register(CallProgramFunction)
    other = type("CallProgramFunction", (Joined,), {})
    with pytest.raises(ConfigurationError, match="already registered"):
        registry.register(other)
    assert registry.names == ("CallProgramFunction",)
