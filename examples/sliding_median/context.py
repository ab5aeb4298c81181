"""The signal, identical for every program and every evaluation."""

from __future__ import annotations

import math
import random

N_VALUES = 30_000
WINDOW = 151
LARGEST = 1023


def build_context() -> dict[str, object]:
    """Make a drifting wave with noise. One value in fifty is a spike, which a median filter removes."""
    rng = random.Random(20_240_229)
    level, values = 512.0, []
    for index in range(N_VALUES):
        level += rng.gauss(0.0, 2.0) + 0.002 * (512.0 - level)
        value = level + 120.0 * math.sin(index / 700.0) + rng.gauss(0.0, 25.0)
        if rng.random() < 0.02:
            value = rng.choice((0.0, float(LARGEST)))
        values.append(min(LARGEST, max(0, round(value))))
    return {"values": values, "window": WINDOW}
