"""Broken: is not Python."""


def entrypoint():
    points = [(0.1 * index, 0.05 * index ** 2) for index in range(11)
    return points
