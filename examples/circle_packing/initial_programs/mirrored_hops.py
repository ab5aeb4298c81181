"""Basin hopping among packings with a mirror axis: eleven pairs of circles and four on the axis.

The climb is a barrier method: it maximises the sum of the radii plus the logarithms of the gaps between circles and
to the sides, with less and less weight on the logarithms. Its Newton steps use the first derivatives of the
constraints, not the second. Matrix products are split into pieces so small that BLAS stays in one thread: each core
runs another program.
"""

import numpy as np

HOPS, PATIENCE = 600, 50
PAIRED, ON_AXIS, N = 11, 4, 26
# Circles 2k and 2k + 1 mirror each other, so of two mirrored pairs of circles only one is checked.
FIRST, SECOND = np.array([(i, j) for i in range(N) for j in range(i + 1, N) if i % 2 == 0 or i >= 2 * PAIRED]).T
ROWS = np.arange(len(FIRST))


def unfolding():
    """Matrix and offset that map 3 numbers per pair and 2 per circle on the axis to 26 x (x, y), then 26 radii."""
    matrix, offset = np.zeros((3 * N, 3 * PAIRED + 2 * ON_AXIS)), np.zeros(3 * N)
    for pair in range(PAIRED):
        one, other, at = 2 * pair, 2 * pair + 1, 3 * pair
        matrix[2 * one, at], matrix[2 * other, at], offset[2 * other] = 1.0, -1.0, 1.0
        matrix[2 * one + 1, at + 1] = matrix[2 * other + 1, at + 1] = 1.0
        matrix[2 * N + one, at + 2] = matrix[2 * N + other, at + 2] = 1.0
    for single in range(ON_AXIS):
        circle, at = 2 * PAIRED + single, 3 * PAIRED + 2 * single
        offset[2 * circle] = 0.5
        matrix[2 * circle + 1, at] = matrix[2 * N + circle, at + 1] = 1.0
    return matrix, offset


def sides():
    """Matrix and offset of x - r, 1 - x - r, y - r, 1 - y - r and r, for one of each pair and those on the axis."""
    circles = [*range(0, 2 * PAIRED, 2), *range(2 * PAIRED, N)]
    matrix = np.zeros((5 * len(circles), 3 * N))
    for row, circle in enumerate(circles):
        for side in range(4):
            matrix[5 * row + side, 2 * circle + side // 2] = 1.0 - 2.0 * (side % 2)
            matrix[5 * row + side, 2 * N + circle] = -1.0
        matrix[5 * row + 4, 2 * N + circle] = 1.0
    return matrix, np.tile([0.0, 1.0, 0.0, 1.0, 0.0], len(circles))


UNFOLD, UNFOLD_AT_ZERO = unfolding()
SIDES, SIDES_AT_ZERO = sides()
SIDES_FOLDED, SIDES_FOLDED_AT_ZERO = SIDES @ UNFOLD, SIDES @ UNFOLD_AT_ZERO + SIDES_AT_ZERO
GAIN = UNFOLD[2 * N :].sum(axis=0)


def gaps_and_directions(folded):
    """Gaps between circles and to the sides, and the directions between the circles."""
    full = UNFOLD @ folded + UNFOLD_AT_ZERO
    centres, radii = full[: 2 * N].reshape(N, 2), full[2 * N :]
    between = centres[FIRST] - centres[SECOND]
    distance = np.hypot(*between.T)
    gaps = distance - radii[FIRST] - radii[SECOND]
    return np.concatenate([gaps, SIDES_FOLDED @ folded + SIDES_FOLDED_AT_ZERO]), between / distance[:, None]


def slopes(direction):
    pairs = np.zeros((len(ROWS), 3 * N))
    for axis in range(2):
        pairs[ROWS, 2 * FIRST + axis] = direction[:, axis]
        pairs[ROWS, 2 * SECOND + axis] = -direction[:, axis]
    pairs[ROWS, 2 * N + FIRST] = pairs[ROWS, 2 * N + SECOND] = -1.0
    return np.vstack([*(part @ UNFOLD for part in np.array_split(pairs, 3)), SIDES_FOLDED])


def climb(folded):
    slack, direction = gaps_and_directions(folded)
    for weight in 0.03 * 0.4 ** np.arange(21).repeat(2):
        constraint = slopes(direction)
        scaled = constraint / slack[:, None]
        uphill = GAIN + weight * scaled.sum(axis=0)
        bend = weight * sum(part.T @ part for part in np.array_split(scaled, 2))
        bend[np.diag_indices(len(bend))] += 1e-12 * bend.diagonal().max()
        step = np.linalg.solve(bend, uphill)
        length = 0.9 / max(0.9, -(scaled * step).sum(axis=1).min())
        while length > 1e-7:
            moved_slack, moved_direction = gaps_and_directions(folded + length * step)
            if moved_slack.min() > 0:
                folded, slack, direction = folded + length * step, moved_slack, moved_direction
                break
            length /= 2
    return folded, GAIN @ folded


def with_small_radii(folded):
    """The same centres with radii so small that every gap is positive."""
    folded[2 : 3 * PAIRED : 3] = folded[3 * PAIRED + 1 :: 2] = 0.0
    slack, _ = gaps_and_directions(folded)
    gaps, to_side = slack[: len(ROWS)], slack[len(ROWS) :].reshape(-1, 5)[:, :4]
    folded[2 : 3 * PAIRED : 3] = folded[3 * PAIRED + 1 :: 2] = 0.45 * min(gaps.min(), to_side.min())
    return folded


def entrypoint():
    rng = np.random.default_rng(7)

    def random_layout():
        return rng.uniform(0.03, 0.97, len(GAIN))

    best, best_score, here, here_score, failures = None, 0.0, None, 0.0, PATIENCE
    for _ in range(HOPS):
        if failures == PATIENCE:
            start, here_score, failures = random_layout(), 0.0, 0
        else:
            start, other, moved = 0.99 * here + 0.01 * random_layout(), random_layout(), rng.integers(15)
            at = 3 * moved if moved < PAIRED else 3 * PAIRED + 2 * (moved - PAIRED)
            start[at : at + 2] = other[at : at + 2]
        layout, score = climb(with_small_radii(start))
        failures += 1
        if score > here_score + 1e-9:
            here, here_score, failures = layout, score, 0
        if score > best_score:
            best, best_score = layout, score
    full = UNFOLD @ best + UNFOLD_AT_ZERO
    return np.column_stack([full[: 2 * N].reshape(N, 2), full[2 * N :]])
