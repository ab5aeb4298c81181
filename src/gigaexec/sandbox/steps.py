"""The steps of the sandbox: their names, and a record of those that were tried."""

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
"""In the order in which the steps are taken."""

Steps = tuple[ConfinementStep, ...]


class StepRecord:
    """The steps that were tried in this process, and before that in the processes that it was forked from."""

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
        """Record steps that failed for the same reason."""
        self.add(ConfinementStep(name, False, reason) for name in names)

    def replace_by_missing(self, name: str, reason: str) -> None:
        """Record that a step that held no longer holds."""
        self._steps = [step for step in self._steps if step.name != name]
        self.add_missing(reason, name)

    @contextmanager
    def attempt(self, name: str, *, is_reported: bool = True) -> Iterator[None]:
        """Record a step as missing if the block raises OSError, else as held.

        Args:
            name: The step's name.
            is_reported: Record the step also if it holds.
        """
        try:
            yield
        except OSError as error:
            self.add_missing(str(error), name)
        else:
            if is_reported:
                self.add([ConfinementStep(name, True)])

    def has(self, name: str) -> bool:
        """Return True if the step was tried and holds."""
        return any(step.name == name and step.held for step in self._steps)

    @property
    def missing_count(self) -> int:
        """The number of steps that failed."""
        return sum(not step.held for step in self._steps)

    def describe_missing(self) -> str:
        """Return the reasons with the names of the steps that failed for them; "" if none failed."""
        steps_by_reason: dict[str, list[str]] = {}
        for step in self._steps:
            if not step.held:
                steps_by_reason.setdefault(step.detail, []).append(step.name)
        return "; ".join(
            f"{reason} (missing: {', '.join(names)})" for reason, names in steps_by_reason.items()
        )
