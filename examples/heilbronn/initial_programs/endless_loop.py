"""Broken: waits for an improvement that never comes."""


def entrypoint():
    points = [(0.5, 0.1)] * 11
    improved = False
    while not improved:
        improved = len(set(points)) > 1
    return points
