"""A 5 x 5 grid of touching circles, and one more in a gap between four of them."""


def entrypoint():
    grid = [(0.1 + 0.2 * column, 0.1 + 0.2 * row, 0.1) for row in range(5) for column in range(5)]
    return [*grid, (0.2, 0.2, 0.1 * (2**0.5 - 1))]
