"""The base of all stages that call a function in a worker, and the stages that call the program itself."""

# ruff: noqa: ARG002 - some parameters of hooks are used only in overrides

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import WorkerCall
from gigaexec.checks import require_seconds
from gigaexec.errors import ConfigurationError, GigaexecError, InfrastructureError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.models import ContextInputs, StageModel, ValueOutput
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.evaluation.stages.stage import ComputedStage, Stage
from gigaexec.runner import run_call
from gigaexec.untrusted.plain_values import type_name

# Long enough for a program that searches for several seconds, and short enough that an overnight run can
# contain many programs with endless loops.
DEFAULT_TIMEOUT_S = 60.0

PROGRAM_ID_VARIABLE = "GIGAEVO_PROGRAM_ID"
PROGRAM_ID_SHORT_VARIABLE = "GIGAEVO_PROGRAM_ID_SHORT"


@register_stage
class PythonCodeExecutor(Stage):
    """Call a function in a worker. This class itself calls a function of the program, without arguments.

    Subclasses override the hooks `code_for`, `arguments_for` and `parse_output`. Hooks run in the driver, on
    the event loop; an exception in a hook makes the stage fail. In the environment of the call,
    `GIGAEVO_PROGRAM_ID` is the program's id, and `GIGAEVO_PROGRAM_ID_SHORT` the first 8 characters of the id.

    Args:
        function_name: Name of the function.
        python_path: Folders from which the code can import, in this order.
        timeout: Maximum run time of the call, seconds.

    Raises:
        ConfigurationError: An argument has a wrong type or value.
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
        self.timeout_s = require_seconds("timeout", timeout, most=sys.float_info.max)

    def code_for(self, program: Program, inputs: Any) -> str:
        """Return the Python source that defines the function."""
        return program.code

    def file_for(self, program: Program, inputs: Any) -> str | None:
        """Return the absolute path of the file that the source came from, or None."""
        return program.file

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and keyword arguments of the function."""
        return [], {}

    def parse_output(self, value: Any, inputs: Any) -> StageModel:
        """Make an instance of `output_model` from the returned value. Raise an error if that fails."""
        return ValueOutput(value=value)

    def build_call(self, program: Program, inputs: Any) -> WorkerCall:
        """Return the call to make for a program."""
        args, kwargs = self.arguments_for(program, inputs)
        return WorkerCall(
            code=self.code_for(program, inputs),
            function_name=self.function_name,
            args=args,
            kwargs=kwargs,
            python_path=list(self.python_path),
            env={PROGRAM_ID_VARIABLE: program.id, PROGRAM_ID_SHORT_VARIABLE: program.id_short},
            file=self.file_for(program, inputs),
        )

    async def compute(self, program: Program, inputs: Any, backend: ExecutorBackend | None) -> ComputedStage:
        """Run the call in a worker, and convert the returned value with `parse_output`."""
        call = self.build_call(program, inputs)
        try:
            outcome = await run_call(call, deadline_s=self.timeout_s, backend=backend)
        except GigaexecError:
            raise
        except Exception as error:  # a failure of the backend itself is no verdict on the program
            reason = f"the backend raised {type_name(error)}: {error}"
            raise InfrastructureError(reason) from error
        if outcome.error is not None:
            return ComputedStage(outcome=outcome, error=outcome.error)
        try:
            return ComputedStage(outcome=outcome, output=self.parse_output(outcome.value, inputs))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - parse_output() may raise anything
            return ComputedStage(outcome=outcome, error=error)


@register_stage
class CallProgramFunction(PythonCodeExecutor):
    """Call a function of the program, with the context as its only argument if a context is given.

    Input: `context` (optional). Output: `value`. The options are the same as for `PythonCodeExecutor`.
    """

    inputs_model: ClassVar[type[StageModel]] = ContextInputs

    def arguments_for(self, program: Program, inputs: ContextInputs) -> tuple[list[Any], dict[str, Any]]:
        return context_arguments(inputs), {}


@register_stage
class CallProgramFunctionWithFixedArgs(PythonCodeExecutor):
    """Call a function of the program with fixed arguments, the same for every program.

    Input: none. Output: `value`.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        function_name: Name of the function.
        python_path: Folders from which the program can import, in this order.
        timeout: Maximum run time of the call, seconds.

    Raises:
        ConfigurationError: An argument has a wrong type or value.
    """

    def __init__(
        self,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        function_name: str = "run_code",
        python_path: Sequence[str | Path] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(function_name=function_name, python_path=python_path, timeout=timeout)
        if not isinstance(args, list | tuple):
            raise ConfigurationError(f"args must be a list, not {args!r:.60}")
        if kwargs is not None and not (
            isinstance(kwargs, Mapping) and all(isinstance(key, str) for key in kwargs)
        ):
            raise ConfigurationError(f"kwargs must map names to values, not {kwargs!r:.60}")
        self._args = list(args)
        self._kwargs = dict(kwargs or {})

    def file_for(self, program: Program, inputs: Any) -> str | None:
        """Return the absolute path of the file that the source came from, or None."""
        return program.file

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        return list(self._args), dict(self._kwargs)


def context_arguments(inputs: ContextInputs) -> list[Any]:
    """Return the context as the only positional argument, or no argument if no context is given."""
    return [inputs.context] if inputs.has("context") else []


def _folders(python_path: Sequence[str | Path]) -> tuple[str, ...]:
    is_list = isinstance(python_path, Sequence) and not isinstance(python_path, str | bytes)
    if not is_list or not all(isinstance(entry, str | Path) for entry in python_path):
        raise ConfigurationError(f"python_path must be a list of folders, not {python_path!r}")
    return tuple(dict.fromkeys(map(str, python_path)))
