"""Check numbers that callers pass. A bool is an int in Python, but these checks refuse it."""

from __future__ import annotations

import math

from gigaexec.errors import ConfigurationError


def require_count(
    name: str,
    value: object,
    *,
    least: int = 1,
    most: float = math.inf,
    expected: str = "",
    error: type[ConfigurationError] = ConfigurationError,
) -> int:
    """Return the value unchanged if it is a whole number in the allowed range.

    Args:
        name: Name of the argument, for the message.
        value: The value to check.
        least: The smallest allowed value.
        most: The largest allowed value.
        expected: Description of the allowed values, for the message. Default: made from `least`.
        error: The error class to raise.

    Raises:
        ConfigurationError: The value is not an int from `least` to `most`, or is a bool.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    default = "a positive whole number" if least == 1 else f"a whole number, at least {least}"
    raise error(f"{name} must be {expected or default}, not {value!r:.80}")


def require_seconds(
    name: str,
    value: object,
    *,
    most: float = math.inf,
    allow_zero: bool = False,
    expected: str = "a positive number of seconds",
) -> float:
    """Return the value as a float if it is a number of seconds in the allowed range.

    Args:
        name: Name of the argument, for the message.
        value: The value to check.
        most: The largest allowed value. Infinity is allowed by default.
        allow_zero: True to allow 0.
        expected: Description of the allowed values, for the message.

    Raises:
        ConfigurationError: The value is not an int or a float, is a bool, or is out of range.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_in_range = value <= most and (value > 0 or (allow_zero and value == 0))  # False for NaN
        if is_in_range:
            try:
                return float(value)
            except OverflowError:  # an int above the range of floats
                pass
    raise ConfigurationError(f"{name} must be {expected}, not {value!r:.80}")
