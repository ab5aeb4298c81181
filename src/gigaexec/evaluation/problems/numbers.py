"""What counts as a number among metrics, and how a number is written in a file."""

from __future__ import annotations

import math
import re
from typing import Any

from gigaexec.untrusted.plain_values import is_a, is_numpy_data

# YAML 1.1, which PyYAML reads, takes 1e-5 for text because it has no dot; people mean the number.
_NUMBER_WITHOUT_DOT = re.compile(r"[-+]?\d+[eE][-+]?\d+")


def finite_float(value: Any) -> float | None:
    """Return a metric's value as a float, or None where it is no finite number.

    Bools and numpy's own scalars and 0-d arrays count as the numbers that they hold; strings do not, nor do
    arrays of other libraries. Subclasses are asked for the number they store; none of their own code is run.
    """
    held = value.item() if is_numpy_data(value) and value.shape == () else value
    if is_a(held, float):
        number = float.__float__(held)
    elif is_a(held, int):
        try:
            number = float(int.__int__(held))
        except OverflowError:  # beyond the range of floats
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def written_number(value: object) -> float | None:
    """Return a number from a YAML file as a float, or None where it is no finite number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER_WITHOUT_DOT.fullmatch(value.strip()):
        value = float(value)
    return finite_float(value) if isinstance(value, int | float) else None
