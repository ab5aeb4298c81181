"""The pydantic models of what goes into stages and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gigaexec.untrusted.plain_values import is_a, type_name


class StageModel(BaseModel):
    """Base of all inputs and outputs of stages. Values of programs pass through it uncopied."""

    # Pydantic would put the repr of a program's value into its errors, and so run the program's code.
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    def has(self, name: str) -> bool:
        """Whether the field was given. None is a value like any other, so it cannot stand for absence."""
        return name in self.model_fields_set


class NoInputs(StageModel):
    """For stages that depend on nothing but the program."""


class ContextInputs(StageModel):
    """What `CallProgramFunction` and `RuntimeFitnessStage` take.

    Args:
        context: The one argument of the program's function; left out, it is called without arguments.
    """

    context: Any = None


class FileFunctionInputs(StageModel):
    """What `CallFileFunction` takes.

    Args:
        payload: The one argument of the file's function; left out, it is called without arguments.
    """

    payload: Any = None


class ValidatorInputs(StageModel):
    """What `CallValidatorFunction` takes.

    Args:
        payload: What the program returned.
        context: Given, the validator is called with `(context, payload)`, else with `(payload)`.
    """

    payload: Any
    context: Any = None


class ValueOutput(StageModel):
    """What a function returned."""

    value: Any = None


class ValidationOutput(StageModel):
    """What a validator returned, taken apart.

    Args:
        metrics: Its metrics, unjudged.
        artifact: What it returned beside them, else None.
    """

    metrics: dict[str, Any]
    artifact: Any = None


class MetricsOutput(StageModel):
    """Metrics by name, unjudged."""

    metrics: dict[str, Any]


class ArtifactOutput(StageModel):
    """What a validator returned beside the metrics, else None."""

    artifact: Any = None


def _must_be(kind: type) -> Callable[[Any], Any]:
    """Refuse other values before pydantic asks them whether they are mappings, in the program's own code."""

    def check(value: Any) -> Any:
        if not is_a(value, kind):
            raise ValueError(f"expected {kind.__name__}, got {type_name(value)}")
        return value

    return check


class FetchMetricsInputs(StageModel):
    """What `FetchMetrics` takes.

    Args:
        validation: The output of a `CallValidatorFunction`.
        measured: More metrics, measured by another stage; they replace those of the same name.
    """

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]
    measured: Annotated[dict[str, Any], BeforeValidator(_must_be(dict))] = {}


class FetchArtifactInputs(StageModel):
    """What `FetchArtifact` takes: the output of a `CallValidatorFunction`."""

    validation: Annotated[ValidationOutput, BeforeValidator(_must_be(ValidationOutput))]


class RuntimeOutput(StageModel):
    """What `RuntimeFitnessStage` measured.

    Args:
        metrics: `execution_time_sec` (the median, seconds), `fitness` (its inverse), `warmup_runs` and
            `timed_runs`.
        value: What the last timed run returned, so that it is a timed value that gets validated.
        run_times_s: Each timed run, seconds, in order.
    """

    metrics: dict[str, float]
    value: Any = None
    run_times_s: tuple[float, ...]
