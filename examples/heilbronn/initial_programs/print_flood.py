"""Noisy: writes about 25 MB of progress lines, then returns a layout on a half circle that is valid."""

import math

STEPS = 250_000


def entrypoint():
    for step in range(STEPS):
        print(f"step {step:7d} of {STEPS}: smallest triangle {1 / (step + 2):.12f}, not better, going on" + "." * 20)
    angles = [math.pi * (point + 0.5) / 11 for point in range(11)]
    return [(0.5 + 0.4 * math.cos(angle), 0.02 + 0.4 * math.sin(angle)) for angle in angles]
