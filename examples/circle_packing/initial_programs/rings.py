"""One circle in the middle, eight around it, seventeen around those."""

import numpy as np
from packing import blow_up


def ring(count, radius):
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    return 0.5 + radius * np.column_stack([np.cos(angles), np.sin(angles)])


def entrypoint():
    return blow_up(np.vstack([[(0.5, 0.5)], ring(8, 0.23), ring(17, 0.42)]))
