"""What of a confinement holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

StepName = Literal[
    "user_namespace",
    "pid_namespace",
    "mount_namespace",
    "private_proc",
    "read_only_mounts",
    "network_namespace",
    "ipc_namespace",
    "no_new_privileges",
    "no_capabilities",
    "landlock_files",
    "landlock_network",
    "landlock_scopes",
    "seccomp",
]

STEP_NAMES: tuple[StepName, ...] = get_args(StepName)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a confinement after it was tried.

    Args:
        name: Which one.
        held: Whether the kernel enforces it from now on.
        detail: Why it does not hold, or how far it goes where that varies.
    """

    name: StepName
    held: bool
    detail: str = ""
