"""Stages that call a function of the program itself."""

# ruff: noqa: ARG002 - a hook is handed all that any override may need

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.executor import DEFAULT_TIMEOUT_S, PythonCodeExecutor
from gigaexec.evaluation.stages.models import ContextInputs, StageModel
from gigaexec.evaluation.stages.registry import register_stage


def context_arguments(inputs: ContextInputs) -> list[Any]:
    """The context as the one argument, or none where no context is given."""
    return [inputs.context] if inputs.has("context") else []


@register_stage
class CallProgramFunction(PythonCodeExecutor):
    """Calls a function of the program with the context as its one argument, where there is a context.

    Takes `context` (optional), gives `value`. The options are those of `PythonCodeExecutor`.
    """

    inputs_model: ClassVar[type[StageModel]] = ContextInputs

    def arguments_for(self, program: Program, inputs: ContextInputs) -> tuple[list[Any], dict[str, Any]]:
        return context_arguments(inputs), {}


@register_stage
class CallProgramFunctionWithFixedArgs(PythonCodeExecutor):
    """Calls a function of every program with the same arguments. Takes nothing, gives `value`.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        function_name: The function to call.
        python_path: Folders from which the program can import, in this order.
        timeout: Seconds that the call may run.

    Raises:
        ConfigurationError: An argument makes no sense.
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

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        return list(self._args), dict(self._kwargs)
