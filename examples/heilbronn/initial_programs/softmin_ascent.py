"""Gradient ascent (Adam) on a smooth minimum of the areas, many layouts at once."""

import numpy as np
from geometry import N_POINTS, TRIPLES, from_barycentric, smallest_share

# Small enough for BLAS to stay in one thread: each core runs another program.
BATCHES, LAYOUTS, STEPS = 4, 120, 600
# Row t of SIDES[c] is +1 and -1 at the two points opposite to corner c of triple t.
CORNERS = [np.eye(N_POINTS)[TRIPLES[:, corner]] for corner in range(3)]
SIDES = [CORNERS[(corner + 1) % 3] - CORNERS[(corner + 2) % 3] for corner in range(3)]


def ascent_direction(x, y, sharpness):
    """Gradient of the smooth minimum of all areas; x and y have shape (layouts, 11)."""
    opposite = [(x @ side.T, y @ side.T) for side in SIDES]
    doubled = opposite[2][0] * opposite[0][1] - opposite[2][1] * opposite[0][0]
    size = np.abs(doubled)
    weight = np.exp(-sharpness * (size - size.min(axis=1, keepdims=True)))
    weight *= np.sign(doubled) / weight.sum(axis=1, keepdims=True)
    along_x = sum((weight * dy) @ corner for (_, dy), corner in zip(opposite, CORNERS, strict=True))
    along_y = sum((weight * -dx) @ corner for (dx, _), corner in zip(opposite, CORNERS, strict=True))
    return along_x, along_y


def climb(rng):
    # Softmax of free logits: the points stay inside whatever the step.
    logits = rng.normal(0, 1.2, (LAYOUTS, N_POINTS, 3))
    mean, square = np.zeros_like(logits), np.zeros_like(logits)
    for step in range(1, STEPS + 1):
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        points = weights @ np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
        along_x, along_y = ascent_direction(points[..., 0], points[..., 1], 100 + 3 * step)
        per_weight = np.stack([0 * along_x, along_x, along_x / 2 + along_y * 3**0.5 / 2], axis=2)
        slope = weights * (per_weight - (weights * per_weight).sum(axis=2, keepdims=True))
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        rate = 0.08 * (1 - step / STEPS) + 0.001
        logits += rate * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
    return max((from_barycentric(layout) for layout in weights), key=smallest_share)


def entrypoint():
    rng = np.random.default_rng(2)
    return max((climb(rng) for _ in range(BATCHES)), key=smallest_share)
