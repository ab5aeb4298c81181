"""The form of a pipeline in a file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class StageDescription(BaseModel):
    """One stage of a described pipeline.

    Args:
        stage: Name of the stage's class in the registry.
        options: Arguments of its constructor.
        inputs: Where each input comes from; see `Pipeline`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stage: str
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)


class PipelineDescription(BaseModel):
    """A pipeline as data: its stages by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stages: dict[str, StageDescription]
