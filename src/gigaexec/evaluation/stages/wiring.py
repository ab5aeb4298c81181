"""Where the inputs of stages come from, and the checks that a pipeline's inputs fit together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gigaexec.evaluation.stages.names import unknown_name
from gigaexec.evaluation.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class Source:
    """Where one input comes from.

    Args:
        name: An initial value or a stage.
        field: The field of the stage's output; "" is the whole output.
        is_initial: Whether `name` is an initial value.
    """

    name: str
    field: str
    is_initial: bool


def parse_source(text: str, initial: Collection[str]) -> Source:
    """Read `value`, `stage` or `stage.field`."""
    if text in initial:
        return Source(name=text, field="", is_initial=True)
    name, _, field = text.partition(".")
    return Source(name=name, field=field, is_initial=False)


def check_wiring(
    stages: Mapping[str, Stage], inputs: Mapping[str, Mapping[str, str]], initial: Collection[str]
) -> list[str]:
    """Return a sentence for each mistake in how stages are put together; cycles are not looked for."""
    findings = [f"the stage name {name!r} holds a dot" for name in stages if "." in name]
    findings += [f"{name!r} is both a stage and an initial value" for name in stages if name in initial]
    findings += [unknown_name("stage in inputs", name, stages) for name in inputs if name not in stages]
    for name, stage in stages.items():
        findings += [
            f"{name}: {finding}" for finding in _check_stage(stage, inputs.get(name, {}), stages, initial)
        ]
    return findings


def _check_stage(
    stage: Stage, taken: Mapping[str, str], stages: Mapping[str, Stage], initial: Collection[str]
) -> Iterator[str]:
    fields = stage.inputs_model.model_fields
    for field, text in taken.items():
        if field not in fields:
            yield unknown_name("input", field, fields)
        source = parse_source(text, initial)
        if not source.is_initial and source.name not in stages:
            yield unknown_name("source", source.name, [*initial, *stages])
        elif source.field and source.field not in stages[source.name].output_model.model_fields:
            yield unknown_name(
                f"output of {source.name!r}", source.field, stages[source.name].output_model.model_fields
            )
    for field, information in fields.items():
        if information.is_required() and field not in taken:
            yield f"the input {field!r} is missing"
