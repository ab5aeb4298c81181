"""Names for stages, so that a pipeline can be described in a file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.stages.names import unknown_name
from gigaexec.evaluation.stages.stage import Stage

StageClass = TypeVar("StageClass", bound=type[Stage])


class StageRegistry:
    """Stage classes by name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Stage]] = {}

    def register(self, stage_class: StageClass) -> StageClass:
        """Add a stage class under its own name; usable as a decorator.

        Raises:
            ConfigurationError: Another class has that name already.
        """
        name = stage_class.__name__
        if self._classes.setdefault(name, stage_class) is not stage_class:
            raise ConfigurationError(f"a stage named {name!r} is registered already; choose another name")
        return stage_class

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._classes))

    def get(self, name: str) -> type[Stage]:
        """Return the class with this name.

        Raises:
            ConfigurationError: There is none; the message lists those there are.
        """
        try:
            return self._classes[name]
        except KeyError:
            raise ConfigurationError(unknown_name("stage", name, self.names)) from None

    def create(
        self, name: str, options: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
    ) -> Stage:
        """Make a stage.

        Args:
            name: Name of its class.
            options: Arguments of its constructor.
            defaults: Values for options that are not given; one that the stage does not take is left out.

        Raises:
            ConfigurationError: The name or an option is unknown, an option is missing, or the stage
                refuses a value.
        """
        stage_class = self.get(name)
        signature = inspect.signature(stage_class)
        unknown = [option for option in options if option not in signature.parameters]
        if unknown:
            known = tuple(signature.parameters)
            raise ConfigurationError(
                "; ".join(unknown_name(f"option of {name}", option, known) for option in unknown)
            )
        fitting = {key: value for key, value in (defaults or {}).items() if key in signature.parameters}
        chosen = {**fitting, **options}
        try:
            signature.bind(**chosen)
        except TypeError as error:
            raise ConfigurationError(f"{name}: {error}") from error
        try:
            return stage_class(**chosen)
        except ConfigurationError:
            raise
        except (TypeError, ValueError) as error:  # a constructor that trusts the types of its options
            raise ConfigurationError(f"{name}: {error}") from error


STAGE_REGISTRY = StageRegistry()
"""The stages that gigaexec brings, and those that `register_stage` added."""

register_stage = STAGE_REGISTRY.register
