"""Stages that call a function of a file that belongs to the problem: a context, a validator."""

# ruff: noqa: ARG002 - a hook is handed all that any override may need

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.errors import StageOutputError
from gigaexec.evaluation.stages.executor import DEFAULT_TIMEOUT_S, PythonCodeExecutor
from gigaexec.evaluation.stages.function_source import read_function_source
from gigaexec.evaluation.stages.models import (
    FileFunctionInputs,
    StageModel,
    ValidationOutput,
    ValidatorInputs,
)
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.untrusted.json_text import safe_repr
from gigaexec.untrusted.plain_values import is_a, type_name

_SHOWN_CHARACTERS = 30


@register_stage
class CallFileFunction(PythonCodeExecutor):
    """Calls a function of a Python file, with the payload as its one argument where there is one.

    Takes `payload` (optional), gives `value`. The file is read once, when the stage is made. Modules beside
    it can be imported.

    Args:
        path: The file.
        folder: Where a relative `path` starts; the current folder unless given.
        function_name: The function to call.
        python_path: Further folders from which the file can import.
        timeout: Seconds that the call may run.

    Raises:
        ConfigurationError: The file is missing, unreadable or no Python, it does not define the function, or
            an argument makes no sense.
    """

    inputs_model: ClassVar[type[StageModel]] = FileFunctionInputs

    def __init__(
        self,
        path: str | Path,
        *,
        folder: str | Path = "",
        function_name: str = "build_context",
        python_path: Sequence[str | Path] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(function_name=function_name, python_path=python_path, timeout=timeout)
        for what, value in (("path", path), ("folder", folder)):
            if not isinstance(value, str | Path):
                raise ConfigurationError(f"{what} must be the name of a file or folder, not {value!r:.60}")
        self.path = (Path(folder) / path).absolute()
        self.python_path = tuple(dict.fromkeys([str(self.path.parent), *self.python_path]))
        self._source = read_function_source(self.path, function_name)

    def code_for(self, program: Program, inputs: Any) -> str:
        return self._source

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        return [inputs.payload] if inputs.has("payload") else [], {}


@register_stage
class CallValidatorFunction(CallFileFunction):
    """Calls `validate(payload)` of a file, or `validate(context, payload)` where there is a context.

    Takes `payload` and `context` (optional), gives `metrics` and `artifact`. The function returns a dict of
    metrics, or a tuple of that and an artifact of any kind. The options are those of `CallFileFunction`.

    Raises:
        ConfigurationError: The file is missing or unreadable, or an argument makes no sense.
    """

    inputs_model: ClassVar[type[StageModel]] = ValidatorInputs
    output_model: ClassVar[type[StageModel]] = ValidationOutput

    def __init__(
        self,
        path: str | Path,
        *,
        folder: str | Path = "",
        function_name: str = "validate",
        python_path: Sequence[str | Path] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(
            path, folder=folder, function_name=function_name, python_path=python_path, timeout=timeout
        )

    def arguments_for(self, program: Program, inputs: ValidatorInputs) -> tuple[list[Any], dict[str, Any]]:
        return [inputs.context, inputs.payload] if inputs.has("context") else [inputs.payload], {}

    def parse_output(self, value: Any, inputs: Any) -> ValidationOutput:
        # What a validator returns may be, or hold, an object of the program, so its own methods are not used.
        metrics, artifact = value, None
        if is_a(value, tuple) and tuple.__len__(value) == 2:
            metrics, artifact = tuple.__iter__(value)
        if not is_a(metrics, dict):
            raise StageOutputError(
                f"{self.path.name}: {self.function_name} returned {_described(value)}; "
                "expected a dict of metrics, or a tuple of that dict and an artifact"
            )
        named = list(dict.items(metrics))
        wrong_names = [name for name, _ in named if not is_a(name, str)]
        if wrong_names:
            raise StageOutputError(
                f"{self.path.name}: {self.function_name} returned metrics whose names are not strings: "
                f"{_shown(wrong_names)}"
            )
        metrics = {str.__str__(name): metric for name, metric in named}
        return ValidationOutput(metrics=metrics, artifact=artifact)


def _described(value: Any) -> str:
    if is_a(value, tuple):
        items = list(tuple.__iter__(value))
        kinds = ", ".join(type_name(item) for item in items[:5])
        return f"a tuple of {len(items)} ({kinds}{', ...' if len(items) > 5 else ''})"
    return f"{type_name(value)}: {_shown(value)}" if value is not None else "None"


def _shown(value: object) -> str:
    return safe_repr(value, most_characters=_SHOWN_CHARACTERS)
