"""A graph of stages that evaluates one program, or many programs at the same time."""

from __future__ import annotations

import asyncio
import graphlib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.findings import findings_of
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.registry import (
    STAGE_REGISTRY,
    PipelineDescription,
    StageDescription,
    StageRegistry,
)
from gigaexec.evaluation.stages.results import ProgramStageResult, skipped_result
from gigaexec.evaluation.stages.stage import Stage
from gigaexec.evaluation.stages.wiring import Source, check_wiring, parse_source

# Depth in a description -> the allowed keys of the mappings at that depth. At depth 2, the keys are the names
# of stages, and any name is allowed.
_KEYS_OF_DESCRIPTION = {1: PipelineDescription.model_fields, 3: StageDescription.model_fields}


class Pipeline:
    """Stages and the wiring between them. One pipeline serves any number of programs at once.

    The source of an input is the name of an initial value, the name of a stage (its whole output) or
    `stage.field` (one field of its output):

        Pipeline(
            {"call": CallProgramFunction(function_name="entrypoint"), "validate": validator},
            {"call": {"context": "context"}, "validate": {"payload": "call.value"}},
            initial=["context"],
        )

    Args:
        stages: Stage name -> stage.
        inputs: Stage name -> input name -> source, for each stage that takes inputs.
        initial: Names of the values that are given to `run`.

    Raises:
        ConfigurationError: The stages form a cycle, a name is unknown, or an input is missing; every mistake
            is listed.
    """

    def __init__(
        self,
        stages: Mapping[str, Stage],
        inputs: Mapping[str, Mapping[str, str]] | None = None,
        *,
        initial: Collection[str] = (),
    ) -> None:
        self.stages = dict(stages)
        self.initial = frozenset(initial)
        inputs = inputs or {}
        findings = check_wiring(self.stages, inputs, self.initial)
        if findings:
            raise ConfigurationError("the pipeline cannot be used: " + "; ".join(findings))
        self._sources = {
            name: {field: parse_source(text, self.initial) for field, text in inputs.get(name, {}).items()}
            for name in self.stages
        }
        self._order = _topological_order(self._sources)

    @classmethod
    def from_description(
        cls,
        description: Mapping[str, Any],
        *,
        initial: Collection[str] = (),
        defaults: Mapping[str, Any] | None = None,
        registry: StageRegistry = STAGE_REGISTRY,
    ) -> Pipeline:
        """Create a pipeline from its description, for example from the content of a YAML file.

        Args:
            description: `{"stages": {name: {"stage": class, "options": {...}, "inputs": {...}}}}`.
            initial: Names of the values that are given to `run`.
            defaults: Option name -> value, for every stage that has the option and does not set it.
            registry: The registry that contains the stage classes.

        Raises:
            ConfigurationError: The description has a wrong form, or a stage or the pipeline cannot be
                created; every mistake is listed.
        """
        try:
            described = PipelineDescription.model_validate(description)
        except ValidationError as error:
            raise ConfigurationError("; ".join(findings_of(error, _KEYS_OF_DESCRIPTION))) from error
        stages, findings = {}, []
        for name, stage in described.stages.items():
            try:
                stages[name] = registry.create(stage.stage, stage.options, defaults=defaults)
            except ConfigurationError as error:
                findings.append(f"stages.{name}: {error}")
        if findings:
            raise ConfigurationError("; ".join(findings))
        inputs = {name: stage.inputs for name, stage in described.stages.items()}
        return cls(stages, inputs, initial=initial)

    def upstream(self, name: str) -> frozenset[str]:
        """Return the names of the stage and of all stages that it depends on, directly or indirectly."""
        needed = {source.name for source in self._sources[name].values() if not source.is_initial}
        return frozenset({name}).union(*map(self.upstream, needed))

    async def run(
        self,
        program: Program,
        *,
        backend: ExecutorBackend | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> dict[str, ProgramStageResult]:
        """Run all stages for one program. Stages that do not depend on each other run at the same time.

        If a stage fails, the stages that depend on it are skipped; all others run.

        Args:
            program: The program to evaluate.
            backend: The backend that runs calls; None is the default backend.
            initial: Name -> initial value, for each name in the `initial` of the constructor.

        Returns:
            Stage name -> result. Each stage comes after the stages that it depends on.

        Raises:
            ConfigurationError: An initial value is missing or unknown; no stage was started.
            asyncio.CancelledError: The awaiting task was cancelled; every running call was killed.
        """
        values = dict(initial or {})
        if values.keys() != self.initial:
            raise ConfigurationError(
                f"the pipeline takes the initial values {sorted(self.initial)}, not {sorted(values)}"
            )
        tasks: dict[str, asyncio.Task[ProgramStageResult]] = {}
        async with asyncio.TaskGroup() as group:
            for name in self._order:
                run_stage = self._run_stage(name, program, backend, values, tasks)
                tasks[name] = group.create_task(run_stage, name=f"stage {name}")
        return {name: task.result() for name, task in tasks.items()}

    async def _run_stage(
        self,
        name: str,
        program: Program,
        backend: ExecutorBackend | None,
        initial: Mapping[str, Any],
        tasks: Mapping[str, asyncio.Task[ProgramStageResult]],
    ) -> ProgramStageResult:
        sources = self._sources[name]
        needed = {
            source.name: await tasks[source.name] for source in sources.values() if not source.is_initial
        }
        not_completed = [needed_name for needed_name, result in needed.items() if not result.completed]
        if not_completed:
            return skipped_result(name, not_completed)
        inputs = {field: _value(source, initial, needed) for field, source in sources.items()}
        return await self.stages[name].run(program, inputs, backend=backend, stage_name=name)


def _value(source: Source, initial: Mapping[str, Any], results: Mapping[str, ProgramStageResult]) -> Any:
    if source.is_initial:
        return initial[source.name]
    output = results[source.name].output
    return getattr(output, source.field) if source.field else output


def _topological_order(sources: Mapping[str, Mapping[str, Source]]) -> tuple[str, ...]:
    graph = {
        name: [source.name for source in inputs.values() if not source.is_initial]
        for name, inputs in sources.items()
    }
    try:
        return tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ConfigurationError(f"the stages of the pipeline form a cycle: {cycle}") from error
