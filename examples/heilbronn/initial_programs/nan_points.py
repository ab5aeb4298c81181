"""Broken: divides by a length that is zero for one point, and gets NaN there."""

import numpy as np
from geometry import CONTAINER, N_POINTS


def entrypoint():
    angles = np.linspace(0, 2 * np.pi, N_POINTS - 1, endpoint=False)
    around = np.vstack([np.column_stack([np.cos(angles), np.sin(angles)]), [(0.0, 0.0)]])
    with np.errstate(invalid="ignore"):
        directions = around / np.linalg.norm(around, axis=1, keepdims=True)
    return CONTAINER.mean(axis=0) + 0.28 * directions
