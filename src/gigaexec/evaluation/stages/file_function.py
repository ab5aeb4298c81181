"""Stages that call a function in a Python file of the problem, such as context.py or validate.py."""

# ruff: noqa: ARG002 - some parameters of hooks are used only in overrides

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.programs.source import read_function_source
from gigaexec.evaluation.stages.executor import DEFAULT_TIMEOUT_S, PythonCodeExecutor
from gigaexec.evaluation.stages.models import (
    FileFunctionInputs,
    StageModel,
    ValidationOutput,
    ValidatorInputs,
)
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.evaluation.stages.results import StageOutputError
from gigaexec.untrusted.json_text import safe_repr
from gigaexec.untrusted.plain_values import is_a, type_name

_MAX_SHOWN_CHARACTERS = 30


@register_stage
class CallFileFunction(PythonCodeExecutor):
    """Call a function of a Python file, with the payload as its only argument if a payload is given.

    Input: `payload` (optional). Output: `value`. The file is read once, when the stage is created. The file
    can import modules from its folder.

    Args:
        path: Path of the file.
        folder: Base folder of a relative `path`. Default: the current folder.
        function_name: Name of the function.
        python_path: Further folders from which the file can import.
        timeout: Maximum run time of the call, seconds.

    Raises:
        ConfigurationError: The file is missing, unreadable or not Python, the file does not define the
            function, or an argument has a wrong type or value.
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
        for name, kind, value in (("path", "file", path), ("folder", "folder", folder)):
            if not isinstance(value, str | Path):
                raise ConfigurationError(f"{name} must be the name of a {kind}, not {value!r:.60}")
        self.path = (Path(folder) / path).absolute()
        self.python_path = tuple(dict.fromkeys([str(self.path.parent), *self.python_path]))
        self._source = read_function_source(self.path, function_name)

    def code_for(self, program: Program, inputs: Any) -> str:
        return self._source

    def file_for(self, program: Program, inputs: Any) -> str | None:
        return str(self.path)

    def arguments_for(self, program: Program, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
        return [inputs.payload] if inputs.has("payload") else [], {}


@register_stage
class CallValidatorFunction(CallFileFunction):
    """Call `validate(payload)` of a file, or `validate(context, payload)` if a context is given.

    Inputs: `payload`, and `context` (optional). Outputs: `metrics` and `artifact`. The function must return a
    dict of metrics, or a tuple of that dict and an artifact of any type. The options are the same as for
    `CallFileFunction`.

    Raises:
        ConfigurationError: The file or an argument cannot be used, as for `CallFileFunction`.
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
        # The validator may return an object whose class the program defines. Only methods of builtin types
        # are called here, so that no code of that class runs in the driver.
        metrics, artifact = value, None
        if is_a(value, tuple) and tuple.__len__(value) == 2:
            metrics, artifact = tuple.__iter__(value)
        if not is_a(metrics, dict):
            raise StageOutputError(
                f"{self.path.name}: {self.function_name} returned {_described(value)}; "
                "expected a dict of metrics, or a tuple of that dict and an artifact"
            )
        items = list(dict.items(metrics))
        wrong_names = [name for name, _ in items if not is_a(name, str)]
        if wrong_names:
            raise StageOutputError(
                f"{self.path.name}: {self.function_name} returned metrics whose names are not strings: "
                f"{_shown(wrong_names)}"
            )
        return ValidationOutput(
            metrics={str.__str__(name): metric for name, metric in items}, artifact=artifact
        )


def _described(value: Any) -> str:
    if is_a(value, tuple):
        items = list(tuple.__iter__(value))
        types = ", ".join(type_name(item) for item in items[:5])
        return f"a tuple of {len(items)} ({types}{', ...' if len(items) > 5 else ''})"
    return f"{type_name(value)}: {_shown(value)}" if value is not None else "None"


def _shown(value: object) -> str:
    return safe_repr(value, most_characters=_MAX_SHOWN_CHARACTERS)
