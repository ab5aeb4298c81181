"""The contract of a stage.

To add a stage, write a subclass of `Stage` with

    inputs_model, output_model                                 pydantic models, subclasses of StageModel
    async def compute(self, program, inputs, backend) -> ComputedStage

Decorate the class with `register_stage` to use it in pipeline.yaml. For a stage that calls a function in a
worker, write a subclass of `PythonCodeExecutor` instead, and override the hooks of that class.
"""

from __future__ import annotations

import abc
import logging
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import Outcome
from gigaexec.errors import GigaexecError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.models import NoInputs, StageModel
from gigaexec.evaluation.stages.results import (
    ProgramStageResult,
    StageError,
    StageState,
)
from gigaexec.untrusted.log_text import one_line, sanitize_for_log

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComputedStage:
    """The result of `Stage.compute`.

    Args:
        output: The output model if the stage succeeded, else None.
        outcome: The outcome of the stage's call; None if the stage made no call.
        error: The error if the stage failed, else None.
    """

    output: BaseModel | None = None
    outcome: Outcome | None = None
    error: BaseException | None = None


class Stage(abc.ABC):
    """One stage of an evaluation. An instance can serve any number of programs at the same time.

    A failure is logged once, at level WARNING, with the name of the stage, the id of the program and the
    whole traceback of the error. Text that could control a terminal is escaped or removed. A skipped stage is
    not logged.
    """

    inputs_model: ClassVar[type[StageModel]] = NoInputs
    """The model of the inputs. A field without a default must have a source in the pipeline."""
    output_model: ClassVar[type[StageModel]]
    """The model of the output. A field can be the source of inputs of other stages."""

    @abc.abstractmethod
    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        """Do the work of the stage.

        This method runs in the driver, on the event loop. An exception that it raises is the error of the
        stage.

        Args:
            program: The program to evaluate.
            inputs: An instance of `inputs_model`.
            backend: The backend that runs calls; None is the default backend.
        """

    async def run(
        self,
        program: Program,
        inputs: Mapping[str, Any] | None = None,
        *,
        backend: ExecutorBackend | None = None,
        stage_name: str = "",
    ) -> ProgramStageResult:
        """Run the stage for one program. Every failure becomes a result; only cancellation is raised.

        Args:
            program: The program to evaluate.
            inputs: Values for the fields of `inputs_model`.
            backend: The backend that runs calls; None is the default backend.
            stage_name: Name of the stage in results, errors and the log. Default: the name of its class.
        """
        name = stage_name or type(self).__name__
        started_s = time.monotonic()
        try:
            computed = await self.compute(program, self.inputs_model(**(inputs or {})), backend)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - compute() may raise anything
            outcome = None
            if isinstance(error, GigaexecError) and error.is_inconclusive:
                outcome = Outcome(error.status, error=error)
            computed = ComputedStage(error=error, outcome=outcome)
        duration_s = time.monotonic() - started_s
        if computed.error is None:
            return ProgramStageResult(
                stage=name,
                status=StageState.COMPLETED,
                output=computed.output,
                outcome=computed.outcome,
                duration_s=duration_s,
            )
        stage_error = StageError.from_exception(computed.error, stage=name)
        logger.warning(
            "stage %s failed for program %s (%s):\n%s",
            one_line(name),
            one_line(program.id),
            one_line(stage_error.type),
            # Indented, so that no line of the traceback looks like a log record.
            textwrap.indent(sanitize_for_log(stage_error.traceback.strip()), "    "),
        )
        return ProgramStageResult(
            stage=name,
            status=StageState.FAILED,
            error=stage_error,
            outcome=computed.outcome,
            duration_s=duration_s,
        )
