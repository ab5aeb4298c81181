"""The container of the problem and the score of a set of points in it.

The validator scores with these functions. Programs may import them too: the problem folder is on the import
path of both.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

N_POINTS = 11
CONTAINER = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
TRIPLES = np.array(list(combinations(range(N_POINTS), 3)))


def to_barycentric(points: np.ndarray) -> np.ndarray:
    """Return barycentric coordinates: a row sums to 1, and a point inside has no negative coordinate."""
    origin, right, top = CONTAINER
    last_two = np.linalg.solve(np.column_stack([right - origin, top - origin]), (points - origin).T).T
    return np.column_stack([1.0 - last_two.sum(axis=1), last_two])


def from_barycentric(weights: np.ndarray) -> np.ndarray:
    """Return the points, shape (n, 2), with these barycentric coordinates, shape (n, 3)."""
    return weights @ CONTAINER


def triangle_shares(points: np.ndarray) -> np.ndarray:
    """Return the area of each triple's triangle divided by the container's, in the order of `TRIPLES`."""
    first, second, third = (points[TRIPLES[:, corner]] for corner in range(3))
    side, other = second - first, third - first
    return np.abs(side[:, 0] * other[:, 1] - side[:, 1] * other[:, 0]) / CONTAINER_DETERMINANT


def smallest_share(points: np.ndarray) -> float:
    """Return the score: the smallest of `triangle_shares`."""
    return float(triangle_shares(points).min())


CONTAINER_DETERMINANT = 3**0.5 / 2
"""Twice the area of the container."""
