"""The names of the sandbox steps, and the record of the steps that were tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gigaexec.calls import ConfinementStep

STEP_NAMES = (
    "user_namespace",
    "pid_namespace",
    "mount_namespace",
    "network_namespace",
    "read_only_mounts",
    "private_proc",
    "ipc_namespace",
    "no_new_privileges",
    "no_capabilities",
    "landlock_files",
    "landlock_network",
    "landlock_scopes",
    "seccomp",
)
"""All sandbox steps, in the order in which they are applied."""

Steps = tuple[ConfinementStep, ...]


class StepRecord:
    """The steps that were tried, by this process and by the processes that it was forked from."""

    def __init__(self) -> None:
        self._steps: list[ConfinementStep] = []

    @property
    def steps(self) -> Steps:
        """The steps in the order in which they were tried."""
        return tuple(self._steps)

    def add(self, steps: Iterable[ConfinementStep]) -> None:
        """Record steps with their results."""
        self._steps += steps

    def add_missing(self, reason: str, *names: str) -> None:
        """Record steps as missing, all for the same reason."""
        self.add(ConfinementStep(name, False, reason) for name in names)

    def replace_by_missing(self, name: str, reason: str) -> None:
        """Mark a step that had succeeded as missing."""
        self._steps = [step for step in self._steps if step.name != name]
        self.add_missing(reason, name)

    @contextmanager
    def attempt(self, name: str, *, is_reported: bool = True) -> Iterator[None]:
        """Record a step as missing if the `with` block raises OSError, otherwise as successful.

        The OSError is not propagated.

        Args:
            name: The step's name.
            is_reported: True to record the step even if it succeeds. A failed step is always recorded.
        """
        try:
            yield
        except OSError as error:
            self.add_missing(str(error), name)
        else:
            if is_reported:
                self.add([ConfinementStep(name, True)])

    def has(self, name: str) -> bool:
        """Return True if the step was tried and succeeded."""
        return any(step.name == name and step.held for step in self._steps)

    @property
    def missing_count(self) -> int:
        """The number of steps that failed."""
        return sum(not step.held for step in self._steps)

    def describe_missing(self) -> str:
        """Return the failed steps as text, grouped by reason; "" if no step failed."""
        steps_by_reason: dict[str, list[str]] = {}
        for step in self._steps:
            if not step.held:
                steps_by_reason.setdefault(step.detail, []).append(step.name)
        return "; ".join(
            f"{reason} (missing: {', '.join(names)})" for reason, names in steps_by_reason.items()
        )
