"""What counts as a number among metrics, and how a number is written in a file."""

from __future__ import annotations

import math
import re

# YAML 1.1, which PyYAML reads, takes 1e-5 for text because it has no dot; people mean the number.
_NUMBER_WITHOUT_DOT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def finite_float(value: object) -> float | None:
    """Return a metric's value as a float, or None where it is no finite number.

    Bools, numpy scalars and 0-d arrays count as the numbers that they hold; strings do not. Subclasses are
    asked for the number they store, not for the one that their own methods claim.
    """
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        value = item()
    try:
        if isinstance(value, float):
            number = float.__float__(value)
        elif isinstance(value, int):
            number = float(int.__int__(value))
        else:
            return None
    except OverflowError:  # an int beyond the range of floats
        return None
    return number if math.isfinite(number) else None


def written_number(value: object) -> float | None:
    """Return a number from a YAML file as a float, or None where it is no finite number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER_WITHOUT_DOT.fullmatch(value.strip()):
        value = float(value)
    return finite_float(value) if isinstance(value, int | float) else None
