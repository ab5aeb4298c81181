"""Check and score points that a program returned for the Heilbronn problem.

Every check raises `ValueError` or `TypeError`; its message becomes the reason why the program is invalid. The
returned object is converted to plain floats once, and only that copy is checked and scored, so an object that
gives different values each time it is read gains nothing.
"""

from __future__ import annotations

import math

import numpy as np
from geometry import N_POINTS, TRIPLES, from_barycentric, to_barycentric, triangle_shares

BEST_KNOWN = 0.036529889880030156
INSIDE_TOLERANCE = 1e-9
"""A barycentric coordinate above minus this counts as 0; about 1e7 times the rounding error of a double."""


def validate(payload: object) -> tuple[dict[str, float], dict[str, object]]:
    """Score the points.

    Returns:
        The metrics, and an artifact: the points, and the three indices of the smallest triangle.

    Raises:
        TypeError: The payload, or a coordinate in it, is of a type that is not accepted.
        ValueError: Wrong count, a coordinate that is not finite, or a point outside the container.
    """
    points = move_onto_container(as_plain_points(payload))
    shares = triangle_shares(points)
    worst = int(shares.argmin())
    min_area = float(shares[worst])
    metrics = {"min_area": min_area, "share_of_best_known": min_area / BEST_KNOWN}
    return metrics, {"smallest_triangle": TRIPLES[worst].tolist(), "points": points.tolist()}


def as_plain_points(payload: object) -> np.ndarray:
    """Return a float64 copy of shape (11, 2), after checks of type, shape and finiteness."""
    if type(payload) is np.ndarray:
        if payload.dtype.kind not in "fiu":
            raise TypeError(f"the array has dtype {payload.dtype}, expected real numbers")
        payload = payload.tolist()
    if type(payload) not in (list, tuple):
        raise TypeError(f"expected a list, tuple or NumPy array of points, got a {type(payload).__name__}")
    if len(payload) != N_POINTS:
        raise ValueError(f"expected {N_POINTS} points, got {len(payload)}")
    return np.array([_plain_pair(index, point) for index, point in enumerate(payload)])


def _plain_pair(index: int, point: object) -> tuple[float, float]:
    if type(point) is np.ndarray and point.dtype.kind in "fiu":
        point = point.tolist()
    # Exact types only: a subclass of list may lie about its length or its items.
    if type(point) not in (list, tuple) or len(point) != 2:
        raise ValueError(f"point {index}: expected a pair (x, y), got {_short(point)}")
    return _plain_float(index, point[0]), _plain_float(index, point[1])


def _plain_float(index: int, value: object) -> float:
    if isinstance(value, np.floating | np.integer):
        value = value.item()
    # Exact types only: isinstance takes a bool for an int, and a subclass of float may lie.
    if type(value) not in (float, int):
        raise TypeError(f"point {index}: expected real numbers, got a {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"point {index}: an integer is too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(f"point {index}: {number} is not a finite number")
    return number


def move_onto_container(points: np.ndarray) -> np.ndarray:
    """Refuse points outside the container; move points that are outside by a rounding error onto its edge."""
    weights = to_barycentric(points)
    lowest = weights.min(axis=1)
    index = int(lowest.argmin())
    if lowest[index] < -INSIDE_TOLERANCE:
        x, y = points[index]
        raise ValueError(f"point {index} at ({x:.6g}, {y:.6g}) lies outside the triangle")
    weights = np.clip(weights, 0.0, None)
    return from_barycentric(weights / weights.sum(axis=1, keepdims=True))


def _short(value: object) -> str:
    if type(value) in (list, tuple):
        return f"a {type(value).__name__} of {len(value)} items"
    return f"a {type(value).__name__}"
