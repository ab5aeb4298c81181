"""The pydantic models of the inputs and outputs of stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gigaexec.untrusted.json_text import safe_repr
from gigaexec.untrusted.plain_values import is_a, type_name


class StageModel(BaseModel):
    """Base class of all inputs and outputs of stages. The values of fields are not copied.

    The repr is bounded, and is made without running code of the values' classes.
    """

    # hide_input_in_errors: otherwise the text of an error contains the repr of a program's value, and making
    # that repr runs code of the program.
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    def __repr__(self) -> str:
        shown = (f"{name}={safe_repr(held, most_characters=200)}" for name, held in self.__dict__.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__

    def has(self, name: str) -> bool:
        """True if a value was passed for the field, even if the value is None."""
        return name in self.model_fields_set


class NoInputs(StageModel):
    """Inputs of a stage that depends only on the program."""


class ContextInputs(StageModel):
    """Inputs of `CallProgramFunction` and `RuntimeFitnessStage`.

    Args:
        context: The only argument of the program's function. Without a context, the function is called
            without arguments.
    """

    context: Any = None


class FileFunctionInputs(StageModel):
    """Inputs of `CallFileFunction`.

    Args:
        payload: The only argument of the file's function. Without a payload, the function is called without
            arguments.
    """

    payload: Any = None


class ValidatorInputs(StageModel):
    """Inputs of `CallValidatorFunction`.

    Args:
        payload: The value that the program returned.
        context: The context of the problem. The validator is called with `(context, payload)`, or with
            `(payload)` if there is no context.
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
    """The value that a validator returned, split into metrics and artifact.

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
        artifact: The second value that the validator returned, after the metrics; None if there was none.
    """

    artifact: Any = None


def _must_be(kind: type) -> Callable[[Any], Any]:
    """Return a pydantic validator that refuses every value that is not an instance of `kind`.

    The validator must run before pydantic's own checks, which run code of the value's class, for example to
    find out if the value is a mapping. A class that a program defines can loop forever in that code.
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
        measured: Metrics that another stage measured. They replace metrics of the same name in `validation`.
    """

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]
    measured: Annotated[dict[str, Any], BeforeValidator(_must_be(dict))] = {}


class FetchArtifactInputs(StageModel):
    """Input of `FetchArtifact`: the output of a `CallValidatorFunction`."""

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]


class RuntimeOutput(StageModel):
    """Output of `RuntimeFitnessStage`.

    Attributes:
        metrics: `execution_time_sec` (the median, seconds), `fitness` (the inverse of the median),
            `warmup_runs` and `timed_runs`.
        value: The value that the last timed run returned, so that a validator can check a run that was timed.
        run_times_s: Duration of each timed run, seconds, in order.
    """

    metrics: dict[str, float]
    value: Any = None
    run_times_s: tuple[float, ...]
