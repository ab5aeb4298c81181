"""The contract of a stage.

To add one, write a class with

    inputs_model, output_model                                 pydantic models, subclasses of StageModel
    async def compute(self, program, inputs, backend) -> ComputedStage

and decorate it with `register_stage` if pipelines in files shall name it. A stage that calls a function
in a worker is a subclass of `PythonCodeExecutor` instead, which has hooks for that.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.models import NoInputs, StageModel
from gigaexec.evaluation.stages.results import ProgramStageResult, StageError, StageState, says_nothing


@dataclass(frozen=True, slots=True)
class ComputedStage:
    """What `Stage.compute` came to.

    Args:
        output: The output model, when it worked.
        outcome: How the stage's call ended, where it made one.
        error: Why it did not work, else None.
    """

    output: BaseModel | None = None
    outcome: Outcome | None = None
    error: BaseException | None = None


class Stage(abc.ABC):
    """One step of evaluating a program. One instance serves any number of programs at the same time."""

    inputs_model: ClassVar[type[StageModel]] = NoInputs
    output_model: ClassVar[type[StageModel]]

    @abc.abstractmethod
    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        """Do the stage's work.

        Runs in the driver, on the event loop. An exception makes the stage fail with that error.

        Args:
            program: What is evaluated.
            inputs: An instance of `inputs_model`.
            backend: Where calls run; None is the default backend.
        """

    async def run(
        self,
        program: Program,
        inputs: Mapping[str, Any] | None = None,
        *,
        backend: ExecutorBackend | None = None,
        stage_name: str = "",
    ) -> ProgramStageResult:
        """Run the stage for one program. Nothing but cancellation is raised.

        Args:
            program: What is evaluated.
            inputs: Values for the fields of `inputs_model`.
            backend: Where calls run; None is the default backend.
            stage_name: What the stage is called in results and errors; its class's name unless given.
        """
        name = stage_name or type(self).__name__
        started_s = time.monotonic()
        try:
            computed = await self.compute(program, self.inputs_model(**(inputs or {})), backend)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a hook raises is this program's
            outcome = Outcome(OutcomeStatus.INFRASTRUCTURE, error=error) if says_nothing(error) else None
            computed = ComputedStage(error=error, outcome=outcome)
        failed = computed.error is not None
        return ProgramStageResult(
            stage=name,
            status=StageState.FAILED if failed else StageState.COMPLETED,
            output=None if failed else computed.output,
            error=StageError.from_exception(computed.error, stage=name) if computed.error else None,
            outcome=computed.outcome,
            duration_s=time.monotonic() - started_s,
        )
