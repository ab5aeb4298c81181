"""Broken: one radius is the square root of a negative number."""

import numpy as np


def entrypoint():
    x, y = (grid.ravel()[:26] for grid in np.meshgrid(np.linspace(0.1, 0.9, 6), np.linspace(0.1, 0.9, 6)))
    with np.errstate(invalid="ignore"):
        radii = np.sqrt(0.0064 - 0.0001 * np.arange(26) * 2.6)
    return np.column_stack([x, y, radii])
