"""Circles in the unit square: a check of the rules, and the largest circles around given centres.

Circles are rows (x, y, radius). The validator uses this module, and programs may import it.
"""

from __future__ import annotations

import numpy as np

N_CIRCLES = 26
PAIRS = np.triu_indices(N_CIRCLES, 1)


def largest_excess(circles: np.ndarray) -> float:
    """Return the largest overlap of two circles or of a circle and a side; negative if nothing touches."""
    centres, radii = circles[:, :2], circles[:, 2]
    first, second = PAIRS
    distances = np.hypot(*(centres[first] - centres[second]).T)
    overlap = (radii[first] + radii[second] - distances).max()
    beyond_side = (radii[:, None] - np.minimum(centres, 1.0 - centres)).max()
    return float(max(overlap, beyond_side))


def blow_up(centres: np.ndarray) -> np.ndarray:
    """Return circles around centres, shape (26, 2), grown at equal speed until each touches something."""
    gaps = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    to_side = np.minimum(centres, 1.0 - centres).min(axis=1)
    radii = np.zeros(N_CIRCLES)
    growing = np.ones(N_CIRCLES, dtype=bool)
    while growing.any():
        room = gaps - radii[:, None] - radii[None]
        # Of two growing circles, each gets half of the room between them.
        share = np.where(growing[None], room / 2, room)
        np.fill_diagonal(share, np.inf)
        reach = np.minimum(share.min(axis=1), to_side - radii)
        growth = max(0.0, float(reach[growing].min()))
        radii[growing] += growth
        growing &= reach > growth + 1e-12
    return np.column_stack([centres, radii])
