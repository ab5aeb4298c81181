"""Stages that take one half of what a validator returned."""

# ruff: noqa: ARG002 - a hook is handed all that any override may need

from __future__ import annotations

from typing import ClassVar

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages.models import (
    ArtifactOutput,
    FetchArtifactInputs,
    FetchMetricsInputs,
    MetricsOutput,
    StageModel,
)
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.evaluation.stages.stage import ComputedStage, Stage


@register_stage
class FetchMetrics(Stage):
    """The metrics of a validation, with those that another stage measured added where there are any.

    Takes `validation` and `measured` (optional; its values replace those of the same name), gives
    `metrics`. Runs in the driver.
    """

    inputs_model: ClassVar[type[StageModel]] = FetchMetricsInputs
    output_model: ClassVar[type[StageModel]] = MetricsOutput

    async def compute(
        self,
        program: Program,
        inputs: FetchMetricsInputs,
        backend: ExecutorBackend | None,
    ) -> ComputedStage:
        return ComputedStage(output=MetricsOutput(metrics={**inputs.validation.metrics, **inputs.measured}))


@register_stage
class FetchArtifact(Stage):
    """The artifact of a validation; None where the validator returned metrics alone.

    Takes `validation`, gives `artifact`. Runs in the driver.
    """

    inputs_model: ClassVar[type[StageModel]] = FetchArtifactInputs
    output_model: ClassVar[type[StageModel]] = ArtifactOutput

    async def compute(
        self,
        program: Program,
        inputs: FetchArtifactInputs,
        backend: ExecutorBackend | None,
    ) -> ComputedStage:
        return ComputedStage(output=ArtifactOutput(artifact=inputs.validation.artifact))
