"""What a probe of the machine found out."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class State(enum.StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """Calls work, with a restriction that the advice lifts."""
    PROBLEM = "problem"
    """Calls do not work before something is done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine.

    Args:
        topic: What it is about, one or two words.
        state: How much it matters.
        fact: What was measured or tried.
        advice: What the user can do; "" where nothing is to be done.
        data: The same facts for programs.
    """

    topic: str
    state: State
    fact: str
    advice: str = ""
    data: dict[str, Any] = field(default_factory=dict)
