"""Broken: draws until 26 circles of radius 0.12 are disjoint; their area exceeds the area of the square."""

import random


def entrypoint():
    rng, circles = random.Random(0), []
    while len(circles) < 26:
        x, y = rng.uniform(0.12, 0.88), rng.uniform(0.12, 0.88)
        if all((x - other_x) ** 2 + (y - other_y) ** 2 >= 0.24**2 for other_x, other_y, _ in circles):
            circles.append((x, y, 0.12))
    return circles
