"""Checks of numbers: metrics that a validator returned, and options that a caller gave."""

from __future__ import annotations

import math
import sys
from typing import Any

from gigaexec.errors import ConfigurationError
from gigaexec.untrusted.plain_values import is_a, is_numpy_data


def finite_float(value: Any) -> float | None:
    """Return a metric's value as a float, or None if the value is not a finite number.

    Bools, numpy scalars and 0-d numpy arrays count as the numbers that they hold. Strings do not, nor do
    arrays of other libraries. Of a subclass of float or int the stored number counts; no code of the value's
    class runs.
    """
    held = value.item() if is_numpy_data(value) and value.shape == () else value
    if is_a(held, float):
        number = float.__float__(held)
    elif is_a(held, int):
        try:
            number = float(int.__int__(held))
        except OverflowError:  # above the range of floats
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def require_seconds(name: str, value: object) -> float:
    """Return the option as a float.

    Raises:
        ConfigurationError: The value is not a finite number above 0.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise ConfigurationError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def require_count(name: str, value: object, *, at_least: int) -> int:
    """Return the option as it is.

    Raises:
        ConfigurationError: The value is not a whole number, or is below `at_least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ConfigurationError(f"{name} must be a whole number, at least {at_least}, not {value!r}")
    return value
