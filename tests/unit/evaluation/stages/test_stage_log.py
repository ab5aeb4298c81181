"""R149: a stage that fails is logged once, with its name, the program's id and the whole error."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

import pytest

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.errors import ExecRunnerError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import ComputedStage, Pipeline, Stage, StageModel, ValueOutput

PROGRAM = Program(code="", name="p")


class Ends(Stage):
    """Complete, fail with an error, or raise the error."""

    output_model: ClassVar[type[StageModel]] = ValueOutput

    def __init__(self, error: BaseException | None = None, *, raises: bool = False) -> None:
        self.error = error
        self.raises = raises

    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        if self.error is None:
            return ComputedStage(output=ValueOutput())
        if self.raises:
            raise self.error
        return ComputedStage(error=self.error)


class TakesOne(Ends):
    """A stage that depends on another stage."""

    class Inputs(StageModel):
        value: Any

    inputs_model: ClassVar[type[StageModel]] = Inputs


def test_r149_a_failed_call_is_logged_whole_and_once(caplog: pytest.LogCaptureFixture) -> None:
    error = ExecRunnerError(
        "KeyError: 'x'", stderr='Traceback:\n  File "user_code.py", line 2\nstdout:\n\twords'
    )
    pipeline = Pipeline({"score": Ends(error), "free": Ends()})
    asyncio.run(pipeline.run(PROGRAM))
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "gigaexec.evaluation.stages.stage")
    assert record.getMessage() == (
        f"stage score failed for program {PROGRAM.id} (ExecRunnerError):\n"
        "    KeyError: 'x'\n    Traceback:\n      File \"user_code.py\", line 2\n    stdout:\n    \twords"
    )


def test_r149_an_exception_of_a_hook_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(Ends(ValueError("first\nsecond"), raises=True).run(PROGRAM))
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(
        f"stage Ends failed for program {PROGRAM.id} (ValueError):\n    Traceback (most"
    )
    assert "raise self.error" in message
    assert message.endswith("    ValueError: first\n    second")


def test_r149_stages_that_are_skipped_or_complete_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    inputs = {"after": {"value": "bad"}, "later": {"value": "after"}}
    stages = {"bad": Ends(ValueError("no")), "after": TakesOne(), "later": TakesOne(), "free": Ends()}
    asyncio.run(Pipeline(stages, inputs).run(PROGRAM))
    (record,) = caplog.records
    assert record.getMessage().startswith("stage bad failed")


def test_r149_the_error_is_sanitized_and_each_line_indented(caplog: pytest.LogCaptureFixture) -> None:
    program = Program(code="", id="id\nforged")
    error = ExecRunnerError("\x1b[31mred", stderr="a\rb\u202ec\nd")
    asyncio.run(Ends(error).run(program, stage_name="call\x1b"))
    (record,) = caplog.records
    assert record.getMessage() == (
        "stage call\\x1b failed for program id\\nforged (ExecRunnerError):\n    red\n    a\\x0dbc\n    d"
    )
