"""Pydantic's validation errors in the words of this project."""

from __future__ import annotations

from pydantic import ValidationError

_WORDS = {"extra_forbidden": "unknown key", "missing": "is missing"}


def findings_of(error: ValidationError) -> list[str]:
    """One line for each mistake: where it is and what is wrong with it."""
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        place = ".".join(map(str, detail["loc"]))
        words = _WORDS.get(detail["type"], detail["msg"])
        lines.append(f"{place}: {words}" if place else words)
    return lines
