"""Broken: asks for the inverse of a singular matrix and raises."""

import numpy as np


def entrypoint():
    distances = np.ones((11, 11))
    return np.linalg.inv(distances) @ np.arange(22).reshape(11, 2)
