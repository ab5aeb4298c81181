"""The result of one probe."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class State(enum.StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    """Calls work, with a restriction."""
    PROBLEM = "problem"
    """Calls do not work until the problem is solved."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine.

    Args:
        topic: The subject, one or two words.
        state: The severity.
        fact: What was measured or tried, in one or more lines.
        advice: What the user can do, in one or more lines; "" if there is nothing to do.
        data: The fact as keys and values, for the JSON output.
    """

    topic: str
    state: State
    fact: str
    advice: str = ""
    data: dict[str, Any] = field(default_factory=dict)
