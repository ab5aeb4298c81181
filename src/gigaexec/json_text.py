"""Values as JSON that is one line and safe to show."""

from __future__ import annotations

import json
import math
from typing import Any


def json_line(value: object) -> str:
    """Return `value` as JSON without a newline in it.

    Letters of every language stay readable. Control characters, bidirectional overrides, lone surrogates
    and whatever else does not print are written as `\\u` escapes, so the line can go to a terminal and
    reads back equal.

    Raises:
        TypeError: It holds something that JSON has no form for.
        ValueError: It holds NaN or an infinity, or it contains itself.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def is_json(value: Any) -> bool:
    """Tell whether JSON holds `value` without loss, a tuple being an array."""
    try:
        return _is_json(value)
    except RecursionError:  # it contains itself, or nests deeper than the encoder goes
        return False


def metric_as_json(value: object) -> object:
    """Return a metric in a form that JSON holds: NaN and infinities as None, other objects as repr."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if is_json(value) else safe_repr(value)


def safe_repr(value: object) -> str:
    """Return `repr(value)`, or a substitute where the value's own `__repr__` raises."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the class is a program's, and may raise anything
        return f"<{type(value).__name__} object, whose repr raised {type(error).__name__}>"


def _is_json(value: Any) -> bool:
    if value is None or type(value) in (bool, int, str):
        return True
    if type(value) is float:
        return math.isfinite(value)
    if type(value) in (list, tuple):
        return all(_is_json(item) for item in value)
    if type(value) is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return False


def _escape(character: str) -> str:
    # JSON writes what lies beyond the 16-bit plane as a pair of surrogates.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
