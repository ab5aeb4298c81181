"""Convert the numbers that a validator returned."""

from __future__ import annotations

import math
from typing import Any

from gigaexec.untrusted.plain_values import is_a, is_numpy_data


def finite_float(value: Any) -> float | None:
    """Return a metric's value as a float, or None if the value is not a finite number.

    Bools, numpy scalars and 0-d numpy arrays are converted to the number that they contain. Strings are not
    numbers, and neither are arrays of other libraries. For an instance of a subclass of float or int, the
    stored number is returned. No code of the value's class runs.
    """
    held = value.item() if is_numpy_data(value) and value.shape == () else value
    if is_a(held, float):
        number = float.__float__(held)
    elif is_a(held, int):
        try:
            number = float(int.__int__(held))
        except OverflowError:  # an int above the range of floats
            return None
    else:
        return None
    return number if math.isfinite(number) else None
