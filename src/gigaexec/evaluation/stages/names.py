"""The sentence about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Say that `name` is no known `what`, which name comes closest, and which there are."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listing = ", ".join(names) if names else "none"
    return f"unknown {what} {name!r}{hint} (known: {listing})"
