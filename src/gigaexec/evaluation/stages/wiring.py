"""The source of each input of a stage, and a check of the names in these sources."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gigaexec.evaluation.findings import unknown_name
from gigaexec.evaluation.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class Source:
    """The source of one input.

    Args:
        name: Name of an initial value or of a stage.
        field: Name of a field of the stage's output; "" for the whole output.
        is_initial: True if `name` is an initial value.
    """

    name: str
    field: str
    is_initial: bool


def parse_source(text: str, initial: Collection[str]) -> Source:
    """Parse a source: the name of an initial value, the name of a stage, or `stage.field`."""
    if text in initial:
        return Source(name=text, field="", is_initial=True)
    name, _, field = text.partition(".")
    return Source(name=name, field=field, is_initial=False)


def check_wiring(
    stages: Mapping[str, Stage], inputs: Mapping[str, Mapping[str, str]], initial: Collection[str]
) -> list[str]:
    """Return a sentence for each mistake in the names and inputs of stages. Cycles are not detected here."""
    findings = [f"the stage name {name!r} contains a dot" for name in stages if "." in name]
    findings += [f"{name!r} is both a stage and an initial value" for name in stages if name in initial]
    findings += [unknown_name("stage in inputs", name, stages) for name in inputs if name not in stages]
    for name, stage in stages.items():
        mistakes = _check_inputs(stage, inputs.get(name, {}), stages, initial)
        findings += [f"{name}: {mistake}" for mistake in mistakes]
    return findings


def _check_inputs(
    stage: Stage, inputs: Mapping[str, str], stages: Mapping[str, Stage], initial: Collection[str]
) -> Iterator[str]:
    fields = stage.inputs_model.model_fields
    for field, text in inputs.items():
        if field not in fields:
            yield unknown_name("input", field, fields)
        source = parse_source(text, initial)
        if source.is_initial:
            continue
        if source.name not in stages:
            yield unknown_name("source", source.name, [*initial, *stages])
            continue
        outputs = stages[source.name].output_model.model_fields
        if source.field and source.field not in outputs:
            yield unknown_name(f"output of {source.name!r}", source.field, outputs)
    for field, information in fields.items():
        if information.is_required() and field not in inputs:
            yield f"the input {field!r} is missing"
