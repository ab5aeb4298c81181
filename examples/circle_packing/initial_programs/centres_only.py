"""Broken: forgets the radii, so the result has the shape (26, 2)."""

import numpy as np


def entrypoint():
    return np.random.default_rng(0).uniform(0.1, 0.9, (26, 2))
