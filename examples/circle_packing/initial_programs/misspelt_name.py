"""Broken: uses a name that does not exist, but only after some work."""

import random


def entrypoint():
    rng = random.Random(0)
    circles = [(rng.random(), rng.random(), 0.001) for _ in range(26)]
    print(f"made {len(circles)} circles")
    return circels
