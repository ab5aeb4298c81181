"""Basin hopping: perturb the layout, climb to a local maximum by a barrier method, keep improvements.

The climb maximises t over the points and t, where every triangle is at least t and every point inside. It takes
Newton steps on the sum of the logarithms of all slacks, with less and less weight on that sum.
"""

import numpy as np
from geometry import TRIPLES, from_barycentric

HOPS = 420
A, B, C = TRIPLES.T
ROWS = np.arange(len(TRIPLES))
# u >= 0, v >= 0 and u + v <= 1 for every point (u, v), in the triangle (0,0) (1,0) (0,1).
INSIDE = np.kron(np.eye(11), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
INSIDE_AT_ZERO = np.tile([0.0, 0.0, 1.0], 11)


def signed_areas(coordinates):
    p = coordinates.reshape(11, 2)
    side, other = p[B] - p[A], p[C] - p[A]
    return side[:, 0] * other[:, 1] - side[:, 1] * other[:, 0]


def slopes(coordinates):
    p = coordinates.reshape(11, 2)
    result = np.zeros((len(TRIPLES), 22))
    for corner, after, before in ((A, B, C), (B, C, A), (C, A, B)):
        opposite = p[after] - p[before]
        result[ROWS, 2 * corner] = opposite[:, 1]
        result[ROWS, 2 * corner + 1] = -opposite[:, 0]
    return result


def climb(coordinates):
    areas = signed_areas(coordinates)
    signs = np.sign(areas)
    t = 0.5 * np.abs(areas).min()

    def slacks(coordinates, t):
        return np.concatenate([signs * signed_areas(coordinates) - t, INSIDE @ coordinates + INSIDE_AT_ZERO])

    slack = slacks(coordinates, t)
    for weight in 0.01 * 0.5 ** np.arange(21).repeat(3):
        constraint = np.zeros((len(slack), 23))
        constraint[:165, :22] = signs[:, None] * slopes(coordinates)
        constraint[:165, 22] = -1.0
        constraint[165:, :22] = INSIDE
        uphill = weight * (constraint.T @ (1 / slack))
        uphill[22] += 1.0
        bend = weight * (constraint.T / slack**2) @ constraint
        bend[np.diag_indices(23)] += 1e-12 * bend.diagonal().max()
        step = np.linalg.solve(bend, uphill)
        length = 0.9 / max(0.9, -(constraint @ step / slack).min())
        while length > 1e-6:
            moved, moved_t = coordinates + length * step[:22], t + length * step[22]
            moved_slack = slacks(moved, moved_t)
            if moved_slack.min() > 0:
                coordinates, t, slack = moved, moved_t, moved_slack
                break
            length /= 2
    return coordinates, np.abs(signed_areas(coordinates)).min()


def entrypoint():
    rng = np.random.default_rng(3)

    def random_layout():
        return rng.dirichlet([1, 1, 1], 11)[:, :2].ravel()

    best, best_score = climb(random_layout())
    for _ in range(HOPS):
        start = 0.97 * best + 0.03 * random_layout()
        moved = 2 * rng.integers(11)
        start[moved : moved + 2] = rng.dirichlet([1, 1, 1])[:2]
        layout, score = climb(start)
        if score > best_score:
            best, best_score = layout, score
    u, v = np.clip(best.reshape(11, 2).T, 0, None)
    return from_barycentric(np.column_stack([1 - u - v, u, v]))
