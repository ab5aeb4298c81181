"""Basin hopping among layouts with a mirror axis: five pairs and one point on the axis.

This halves the unknowns, and the best known layouts have such an axis. The climb is a barrier method: it maximises
t, where every triangle is at least t and every point inside, by Newton steps on the logarithms of all slacks.
"""

import numpy as np
from geometry import TRIPLES, from_barycentric

HOPS, PATIENCE = 360, 40
A, B, C = TRIPLES.T
ROWS = np.arange(len(TRIPLES))
# u >= 0, v >= 0 and u + v <= 1 for every point (u, v), in the triangle (0,0) (1,0) (0,1).
INSIDE = np.kron(np.eye(11), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
INSIDE_AT_ZERO = np.tile([0.0, 0.0, 1.0], 11)
# Ten numbers are five points (u, v), whose mirror images are (v, u); the eleventh is a point (w, w).
UNFOLD = np.zeros((22, 11))
for pair in range(5):
    UNFOLD[4 * pair, 2 * pair] = UNFOLD[4 * pair + 3, 2 * pair] = 1.0
    UNFOLD[4 * pair + 1, 2 * pair + 1] = UNFOLD[4 * pair + 2, 2 * pair + 1] = 1.0
UNFOLD[20:, 10] = 1.0


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


def climb(folded):
    areas = signed_areas(UNFOLD @ folded)
    signs = np.sign(areas)
    t = 0.5 * np.abs(areas).min()

    def slacks(folded, t):
        coordinates = UNFOLD @ folded
        return np.concatenate([signs * signed_areas(coordinates) - t, INSIDE @ coordinates + INSIDE_AT_ZERO])

    slack = slacks(folded, t)
    for weight in 0.01 * 0.45 ** np.arange(30).repeat(3):
        constraint = np.zeros((len(slack), 12))
        constraint[:165, :11] = signs[:, None] * slopes(UNFOLD @ folded) @ UNFOLD
        constraint[:165, 11] = -1.0
        constraint[165:, :11] = INSIDE @ UNFOLD
        uphill = weight * (constraint.T @ (1 / slack))
        uphill[11] += 1.0
        bend = weight * (constraint.T / slack**2) @ constraint
        bend[np.diag_indices(12)] += 1e-12 * bend.diagonal().max()
        step = np.linalg.solve(bend, uphill)
        length = 0.9 / max(0.9, -(constraint @ step / slack).min())
        while length > 1e-6:
            moved, moved_t = folded + length * step[:11], t + length * step[11]
            moved_slack = slacks(moved, moved_t)
            if moved_slack.min() > 0:
                folded, t, slack = moved, moved_t, moved_slack
                break
            length /= 2
    return folded, np.abs(signed_areas(UNFOLD @ folded)).min()


def entrypoint():
    rng = np.random.default_rng(5)

    def random_layout():
        return np.append(rng.dirichlet([1, 1, 1], 5)[:, :2].ravel(), rng.random() / 2)

    best, best_score, here, here_score, failures = None, 0.0, None, 0.0, PATIENCE
    for _ in range(HOPS):
        if failures == PATIENCE:
            start, here_score, failures = random_layout(), 0.0, 0
        else:
            start, other = 0.98 * here + 0.02 * random_layout(), random_layout()
            moved = 2 * rng.integers(6)
            start[moved : moved + 2] = other[moved : moved + 2]
        layout, score = climb(start)
        failures += 1
        if score > here_score + 1e-9:
            here, here_score, failures = layout, score, 0
        if score > best_score:
            best, best_score = layout, score
    u, v = np.clip((UNFOLD @ best).reshape(11, 2).T, 0, None)
    return from_barycentric(np.column_stack([1 - u - v, u, v]))
