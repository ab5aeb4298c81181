"""Pipelines as data: names for stages, and the form of a description that uses the names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.findings import unknown_name
from gigaexec.evaluation.stages.stage import Stage

StageClass = TypeVar("StageClass", bound=type[Stage])


class StageDescription(BaseModel):
    """One stage of a described pipeline.

    Attributes:
        stage: Name of the stage's class in the registry.
        options: Arguments of its constructor.
        inputs: Input name -> source; see `Pipeline`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stage: str
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)


class PipelineDescription(BaseModel):
    """A pipeline as data.

    Attributes:
        stages: Stage name -> its description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stages: dict[str, StageDescription]


class StageRegistry:
    """Stage classes by name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Stage]] = {}

    def register(self, stage_class: StageClass) -> StageClass:
        """Add a stage class under its own name. Usable as a decorator.

        Returns:
            The class itself.

        Raises:
            ConfigurationError: Another class already has that name.
        """
        name = stage_class.__name__
        if self._classes.setdefault(name, stage_class) is not stage_class:
            raise ConfigurationError(f"a stage named {name!r} is already registered; choose another name")
        return stage_class

    @property
    def names(self) -> tuple[str, ...]:
        """All registered names, sorted."""
        return tuple(sorted(self._classes))

    def get(self, name: str) -> type[Stage]:
        """Return the class with this name.

        Raises:
            ConfigurationError: The name is unknown; the message lists the known names.
        """
        try:
            return self._classes[name]
        except KeyError:
            raise ConfigurationError(unknown_name("stage", name, self.names)) from None

    def create(
        self, name: str, options: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
    ) -> Stage:
        """Create a stage.

        Args:
            name: Name of its class.
            options: Arguments of its constructor.
            defaults: Values for options that are not given; values for options that the stage does not have
                are ignored.

        Raises:
            ConfigurationError: The name or an option is unknown, an option is missing, or the stage refuses a
                value.
        """
        stage_class = self.get(name)
        signature = inspect.signature(stage_class)
        known = tuple(signature.parameters)
        unknown = [option for option in options if option not in known]
        if unknown:
            raise ConfigurationError(
                "; ".join(unknown_name(f"option of {name}", option, known) for option in unknown)
            )
        fitting = {option: value for option, value in (defaults or {}).items() if option in known}
        chosen = {**fitting, **options}
        try:
            signature.bind(**chosen)
            return stage_class(**chosen)
        except ConfigurationError:
            raise
        except (TypeError, ValueError) as error:  # a missing option, or a constructor that checks no types
            raise ConfigurationError(f"{name}: {error}") from error


STAGE_REGISTRY = StageRegistry()
"""The stages of gigaexec and the stages that `register_stage` added."""

register_stage = STAGE_REGISTRY.register
"""Class decorator: add a stage to `STAGE_REGISTRY` under the name of its class."""
