"""The pydantic models of the inputs and outputs of stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gigaexec.untrusted.plain_values import is_a, type_name


class StageModel(BaseModel):
    """Base of all inputs and outputs of stages. Values of programs pass through it uncopied."""

    # hide_input_in_errors: otherwise the text of an error contains the repr of a value of the program, and
    # making that repr runs the program's code.
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    def has(self, name: str) -> bool:
        """True if the field was given, also if it was given as None."""
        return name in self.model_fields_set


class NoInputs(StageModel):
    """Inputs of a stage that depends only on the program."""


class ContextInputs(StageModel):
    """Inputs of `CallProgramFunction` and `RuntimeFitnessStage`.

    Args:
        context: The only argument of the program's function. If it is left out, the function is called
            without arguments.
    """

    context: Any = None


class FileFunctionInputs(StageModel):
    """Inputs of `CallFileFunction`.

    Args:
        payload: The only argument of the file's function. If it is left out, the function is called without
            arguments.
    """

    payload: Any = None


class ValidatorInputs(StageModel):
    """Inputs of `CallValidatorFunction`.

    Args:
        payload: The value that the program returned.
        context: The context of the problem. If it is given, the validator is called with `(context,
            payload)`, otherwise with `(payload)`.
    """

    payload: Any
    context: Any = None


class ValueOutput(StageModel):
    """The value that a function returned.

    Attributes:
        value: The value.
    """

    value: Any = None


class ValidationOutput(StageModel):
    """The value that a validator returned, split into its two parts.

    Attributes:
        metrics: The metrics, not yet judged.
        artifact: The artifact, or None.
    """

    metrics: dict[str, Any]
    artifact: Any = None


class MetricsOutput(StageModel):
    """Metrics of a program.

    Attributes:
        metrics: The metrics by name, not yet judged.
    """

    metrics: dict[str, Any]


class ArtifactOutput(StageModel):
    """The artifact of a program.

    Attributes:
        artifact: The value that the validator returned with the metrics, or None.
    """

    artifact: Any = None


def _must_be(kind: type) -> Callable[[Any], Any]:
    """Return a validator that refuses values of other types before pydantic runs code of their class.

    Pydantic asks a value whether it is a mapping, which a program's object can answer with an endless loop.
    """

    def check(value: Any) -> Any:
        if not is_a(value, kind):
            raise ValueError(f"expected {kind.__name__}, got {type_name(value)}")
        return value

    return check


class FetchMetricsInputs(StageModel):
    """Inputs of `FetchMetrics`.

    Args:
        validation: The output of a `CallValidatorFunction`.
        measured: More metrics, measured by another stage; they replace metrics of the same name.
    """

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]
    measured: Annotated[dict[str, Any], BeforeValidator(_must_be(dict))] = {}


class FetchArtifactInputs(StageModel):
    """Input of `FetchArtifact`: the output of a `CallValidatorFunction`."""

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]


class RuntimeOutput(StageModel):
    """Output of `RuntimeFitnessStage`.

    Attributes:
        metrics: `execution_time_sec` (the median, seconds), `fitness` (its inverse), `warmup_runs` and
            `timed_runs`.
        value: The value that the last timed run returned. Validating it validates a run that was timed.
        run_times_s: Duration of each timed run, seconds, in order.
    """

    metrics: dict[str, float]
    value: Any = None
    run_times_s: tuple[float, ...]
