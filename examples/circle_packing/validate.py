"""Check and score a packing of 26 circles that a program returned.

Every check raises `ValueError` or `TypeError`; its message becomes the reason why the program is invalid. The
returned object is converted to plain floats once, and only that copy is checked and scored, so an object that
gives different values each time it is read gains nothing.
"""

from __future__ import annotations

import math

import numpy as np
from packing import N_CIRCLES, PAIRS, largest_excess

TOLERANCE = 1e-9
"""Largest overlap that counts as a rounding error; about 1e7 times the rounding error of a double."""


def validate(payload: object) -> dict[str, float]:
    """Score the circles.

    Raises:
        TypeError: The payload, or a number in it, is of a type that is not accepted.
        ValueError: Wrong count, a number that is not finite, a radius that is not positive, an overlap or a
            circle that leaves the square.
    """
    circles = as_plain_circles(payload)
    excess = largest_excess(circles)
    if excess > TOLERANCE:
        raise ValueError(describe_worst(circles))
    # Subtract the overlap that the tolerance allowed: the scored circles are disjoint and inside the square.
    circles[:, 2] -= max(0.0, excess)
    if circles[:, 2].min() <= 0:
        raise ValueError("a radius is not larger than the overlap that is subtracted from it")
    return {"sum_radii": math.fsum(circles[:, 2]), "smallest_radius": float(circles[:, 2].min())}


def as_plain_circles(payload: object) -> np.ndarray:
    """Return a float64 copy of shape (26, 3), after checks of type, shape, finiteness and sign."""
    if type(payload) is np.ndarray:
        if payload.dtype.kind not in "fiu":
            raise TypeError(f"the array has dtype {payload.dtype}, expected real numbers")
        payload = payload.tolist()
    if type(payload) not in (list, tuple):
        raise TypeError(f"expected a list, tuple or NumPy array of circles, got a {type(payload).__name__}")
    if len(payload) != N_CIRCLES:
        raise ValueError(f"expected {N_CIRCLES} circles, got {len(payload)}")
    return np.array([_plain_circle(index, circle) for index, circle in enumerate(payload)])


def describe_worst(circles: np.ndarray) -> str:
    """Return a sentence that names the circle that breaks a rule the most, and by how much."""
    centres, radii = circles[:, :2], circles[:, 2]
    beyond = radii - np.minimum(centres, 1.0 - centres).min(axis=1)
    if beyond.max() > TOLERANCE:
        return f"circle {int(beyond.argmax())} leaves the square by {beyond.max():.3g}"
    overlaps = radii[PAIRS[0]] + radii[PAIRS[1]] - np.hypot(*(centres[PAIRS[0]] - centres[PAIRS[1]]).T)
    worst = int(overlaps.argmax())
    return f"circles {PAIRS[0][worst]} and {PAIRS[1][worst]} overlap by {overlaps[worst]:.3g}"


def _plain_circle(index: int, circle: object) -> tuple[float, ...]:
    if type(circle) is np.ndarray and circle.dtype.kind in "fiu":
        circle = circle.tolist()
    # Exact types only: a subclass of list may lie about its length or its items.
    if type(circle) not in (list, tuple) or len(circle) != 3:
        size = f" of {len(circle)} items" if type(circle) in (list, tuple) else ""
        raise ValueError(f"circle {index}: expected (x, y, radius), got a {type(circle).__name__}{size}")
    numbers = tuple(_plain_float(index, value) for value in circle)
    if numbers[2] <= 0:
        raise ValueError(f"circle {index}: the radius {numbers[2]:.6g} is not positive")
    return numbers


def _plain_float(index: int, value: object) -> float:
    if isinstance(value, np.floating | np.integer):
        value = value.item()
    # Exact types only: isinstance takes a bool for an int, and a subclass of float may lie.
    if type(value) not in (float, int):
        raise TypeError(f"circle {index}: expected real numbers, got a {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"circle {index}: an integer is too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(f"circle {index}: {number} is not a finite number")
    return number
