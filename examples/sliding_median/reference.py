"""The correct answer, computed in a way that is easy to verify."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence


def sliding_medians(values: Sequence[int], window: int) -> list[int]:
    """Return the median of every full window; `window` is odd and no larger than `len(values)`."""
    inside = sorted(values[:window])
    medians = [inside[window // 2]]
    for leaving, entering in zip(values, values[window:], strict=False):
        del inside[bisect_left(inside, leaving)]
        insort(inside, entering)
        medians.append(inside[window // 2])
    return medians
