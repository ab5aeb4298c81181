"""The base of all stages that call a function in a worker."""

# ruff: noqa: ARG002 - a hook is handed all that any override may need

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import WorkerCall
from gigaexec.errors import ConfigurationError, GigaexecError, InfrastructureError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.models import StageModel, ValueOutput
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.evaluation.stages.stage import ComputedStage, Stage
from gigaexec.runner import run_call

# Long enough for a search of some seconds, short enough that a night survives many endless loops.
DEFAULT_TIMEOUT_S = 60.0

PROGRAM_ID_VARIABLE = "GIGAEVO_PROGRAM_ID"
PROGRAM_ID_SHORT_VARIABLE = "GIGAEVO_PROGRAM_ID_SHORT"


@register_stage
class PythonCodeExecutor(Stage):
    """Calls a function of some code in a worker; as it stands, one without arguments of the program's code.

    Subclasses override `code_for`, `arguments_for` and `parse_output`. These hooks run in the driver; what
    they raise becomes a failed result. The call sees the program's id in `GIGAEVO_PROGRAM_ID` and its
    first 8 characters in `GIGAEVO_PROGRAM_ID_SHORT`.

    Args:
        function_name: The function to call.
        python_path: Folders from which the code can import, in this order.
        timeout: Seconds that the call may run.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    output_model: ClassVar[type[StageModel]] = ValueOutput

    def __init__(
        self,
        *,
        function_name: str = "run_code",
        python_path: Sequence[str | Path] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if not isinstance(function_name, str) or not function_name:
            raise ConfigurationError(f"function_name must be the name of a function, not {function_name!r}")
        self.function_name = function_name
        self.python_path = _folders(python_path)
        self.timeout_s = _seconds(timeout)

    def code_for(self, program: Program, inputs: Any) -> str:
        """The source that holds the function."""
        return program.code

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        """The function's positional and keyword arguments."""
        return [], {}

    def parse_output(self, value: Any, inputs: Any) -> StageModel:
        """Turn what the function returned into `output_model`; raise if it cannot be used."""
        return ValueOutput(value=value)

    def build_call(self, program: Program, inputs: Any) -> WorkerCall:
        """The call that is made for a program."""
        args, kwargs = self.arguments_for(program, inputs)
        return WorkerCall(
            code=self.code_for(program, inputs),
            function_name=self.function_name,
            args=args,
            kwargs=kwargs,
            python_path=list(self.python_path),
            env={PROGRAM_ID_VARIABLE: program.id, PROGRAM_ID_SHORT_VARIABLE: program.id_short},
        )

    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        call = self.build_call(program, inputs)
        try:
            outcome = await run_call(call, deadline_s=self.timeout_s, backend=backend)
        except GigaexecError:
            raise
        except Exception as error:  # a backend's own failure says nothing about the program
            reason = f"the backend raised {type(error).__name__}: {error}"
            raise InfrastructureError(reason) from error
        if outcome.error is not None:
            return ComputedStage(outcome=outcome, error=outcome.error)
        try:
            return ComputedStage(outcome=outcome, output=self.parse_output(outcome.value, inputs))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a hook's failure; the outcome must not be lost with it
            return ComputedStage(outcome=outcome, error=error)


def _folders(python_path: Sequence[str | Path]) -> tuple[str, ...]:
    is_listing = isinstance(python_path, Sequence) and not isinstance(python_path, str | bytes)
    if not is_listing or not all(isinstance(entry, str | Path) for entry in python_path):
        raise ConfigurationError(f"python_path must be a list of folders, not {python_path!r}")
    return tuple(dict.fromkeys(map(str, python_path)))


def _seconds(timeout: float) -> float:
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or not math.isfinite(timeout) or timeout <= 0:
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    return float(timeout)
