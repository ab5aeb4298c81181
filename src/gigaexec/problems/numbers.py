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
    held = value if isinstance(value, int | float) else _held_by_array(value)
    if isinstance(held, float):
        number = float.__float__(held)
    elif isinstance(held, int):
        try:
            number = float(int.__int__(held))
        except OverflowError:  # beyond the range of floats
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def _held_by_array(value: object) -> object:
    """Return what a numpy scalar or a 0-d array of any library holds, as a Python object, else None."""
    try:
        is_single = getattr(value, "shape", None) == ()
        return value.item() if is_single else None  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - an object of the program may raise anything when asked: no number
        return None


def written_number(value: object) -> float | None:
    """Return a number from a YAML file as a float, or None where it is no finite number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER_WITHOUT_DOT.fullmatch(value.strip()):
        value = float(value)
    return finite_float(value) if isinstance(value, int | float) else None
