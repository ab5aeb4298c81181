"""Simulated annealing: one point moves at a time. Standard library only."""

import math
import random
from itertools import combinations

STEPS = 60_000
PAIRS_WITHOUT = [
    list(combinations([other for other in range(11) if other != moved], 2)) for moved in range(11)
]


def smallest_with(points, moved):
    """Twice the smallest triangle that has the moved point as a corner."""
    x, y = points[moved]
    return min(
        abs((points[i][0] - x) * (points[j][1] - y) - (points[i][1] - y) * (points[j][0] - x))
        for i, j in PAIRS_WITHOUT[moved]
    )


def entrypoint():
    rng = random.Random(1)
    points = [sorted((rng.random(), rng.random())) for _ in range(11)]
    points = [(low, 1 - high) for low, high in points]
    score = min(smallest_with(points, index) for index in range(11))
    best, best_score = list(points), score
    for step in range(STEPS):
        heat = 0.006 * (1 - step / STEPS) ** 2 + 1e-9
        reach = 0.25 * (1 - step / STEPS) + 0.003
        moved = rng.randrange(11)
        u, v = points[moved]
        candidate = (abs(u + rng.uniform(-reach, reach)), abs(v + rng.uniform(-reach, reach)))
        if sum(candidate) > 1:
            continue
        before = points[moved]
        points[moved] = candidate
        # Triangles without the moved point keep their areas, so they matter only when none with it is smaller.
        new_score = smallest_with(points, moved)
        if new_score > score:
            new_score = min(smallest_with(points, index) for index in range(11))
        if new_score >= score or rng.random() < math.exp((new_score - score) / heat):
            score = new_score
            if score > best_score:
                best, best_score = list(points), score
        else:
            points[moved] = before
    return [(u + v / 2, v * math.sqrt(3) / 2) for u, v in best]
