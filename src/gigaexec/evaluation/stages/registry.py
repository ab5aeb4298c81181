"""A registry of stage classes by name, and the schema of pipeline.yaml."""

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
    """Schema of one stage in pipeline.yaml.

    Attributes:
        stage: Name of the stage's class in the registry.
        options: Keyword arguments of the constructor of the class.
        inputs: Input name -> source of the input; see `Pipeline`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stage: str
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)


class PipelineDescription(BaseModel):
    """Schema of pipeline.yaml.

    Attributes:
        stages: Stage name -> description of the stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stages: dict[str, StageDescription]


class StageRegistry:
    """A registry of stage classes. The key of a class is its name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Stage]] = {}

    def register(self, stage_class: StageClass) -> StageClass:
        """Add a stage class under its own name. Usable as a decorator.

        Returns:
            The given class.

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
            name: Name of the stage class.
            options: Keyword arguments of the constructor of the class.
            defaults: Option name -> value, used if `options` does not contain the option. Options that the
                constructor does not have are ignored.

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
        except (TypeError, ValueError) as error:  # an option is missing, or the constructor refuses a value
            raise ConfigurationError(f"{name}: {error}") from error


STAGE_REGISTRY = StageRegistry()
"""The default registry: the stage classes of gigaexec, and the classes that `register_stage` added."""

register_stage = STAGE_REGISTRY.register
"""Class decorator: add a stage to `STAGE_REGISTRY` under the name of its class."""
