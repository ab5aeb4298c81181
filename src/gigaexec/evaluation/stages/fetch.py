"""Stages that take the metrics or the artifact out of a validator's output."""

# ruff: noqa: ARG002 - some parameters of hooks are used only in overrides

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
    """Take the metrics out of a validator's output and add metrics that another stage measured.

    Inputs: `validation`, and `measured` (optional). A metric of `measured` replaces the metric of the same
    name in `validation`. Output: `metrics`. This stage runs in the driver.
    """

    inputs_model: ClassVar[type[StageModel]] = FetchMetricsInputs
    output_model: ClassVar[type[StageModel]] = MetricsOutput

    async def compute(
        self, program: Program, inputs: FetchMetricsInputs, backend: ExecutorBackend | None
    ) -> ComputedStage:
        return ComputedStage(output=MetricsOutput(metrics={**inputs.validation.metrics, **inputs.measured}))


@register_stage
class FetchArtifact(Stage):
    """Take the artifact out of a validator's output. The artifact is None if the validator returned none.

    Input: `validation`. Output: `artifact`. This stage runs in the driver.
    """

    inputs_model: ClassVar[type[StageModel]] = FetchArtifactInputs
    output_model: ClassVar[type[StageModel]] = ArtifactOutput

    async def compute(
        self, program: Program, inputs: FetchArtifactInputs, backend: ExecutorBackend | None
    ) -> ComputedStage:
        return ComputedStage(output=ArtifactOutput(artifact=inputs.validation.artifact))
