"""Cheats: points on a circle around the container span larger triangles than any layout inside."""

import math


def entrypoint():
    centre_y = math.sqrt(3) / 6
    angles = [2 * math.pi * point / 11 for point in range(11)]
    return [(0.5 + math.cos(angle), centre_y + math.sin(angle)) for angle in angles]
