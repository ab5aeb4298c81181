"""Check the sliding medians that a program returned: every number must be correct.

Every check raises `ValueError` or `TypeError`; its message becomes the reason why the program is invalid. The
stage that calls the program measures the speed.
"""

from __future__ import annotations

import numpy as np
from reference import sliding_medians


def validate(context: dict[str, object], payload: object) -> dict[str, float]:
    """Compare the medians with the reference.

    Raises:
        TypeError: The payload, or a number in it, is of a type that is not accepted.
        ValueError: Wrong count or a wrong median.
    """
    # The validator has its own copy of the context; a program cannot change it.
    expected = sliding_medians(context["values"], context["window"])
    medians = as_plain_integers(payload, len(expected))
    wrong = [index for index, pair in enumerate(zip(medians, expected, strict=True)) if pair[0] != pair[1]]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{len(wrong)} of {len(expected)} medians are wrong; the first at index {first}: "
            f"expected {expected[first]}, got {medians[first]}"
        )
    return {"is_valid": 1.0}


def as_plain_integers(payload: object, count: int) -> list[int]:
    """Return the numbers as builtin ints, after checks of type and count."""
    if type(payload) is np.ndarray:
        if payload.ndim != 1 or payload.dtype.kind not in "iu":
            raise TypeError(
                f"expected a one-dimensional array of integers, got shape {payload.shape} of {payload.dtype}"
            )
        payload = payload.tolist()
    if type(payload) not in (list, tuple):
        raise TypeError(f"expected a list, tuple or NumPy array of medians, got a {type(payload).__name__}")
    if len(payload) != count:
        raise ValueError(f"expected {count} medians, got {len(payload)}")
    return [_plain_integer(index, value) for index, value in enumerate(payload)]


def _plain_integer(index: int, value: object) -> int:
    if isinstance(value, np.integer):
        value = value.item()
    # Exact type only: a subclass of int may compare equal to everything, and a float may be NaN or rounded.
    if type(value) is not int:
        raise TypeError(
            f"median {index}: expected a whole number, got the {type(value).__name__} {value!r:.40}"
        )
    return value
