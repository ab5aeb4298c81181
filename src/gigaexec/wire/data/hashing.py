"""The time limit on inserting untrusted keys into sets and dicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from gigaexec.wire.data.format import LEAF_TYPES, BadDataError


class HashingBudget:
    """Bounds the time that colliding keys can cost.

    A program that chooses ints also chooses their hashes and those of containers of ints, and n colliding
    keys cost n * n / 2 comparisons. Counting equal hashes would not help: keys with different hashes can be
    made to probe the same slots one after the other. So the CPU time of inserting is measured, and decoding
    fails when it exceeds at least ten times the time of honest keys. It is the CPU time of this thread, which
    excludes other threads.

    A level of nested frozensets multiplies the time of a comparison by at most the time of building that
    level. Therefore small sets of such keys are measured too, and one step never takes much longer than all
    steps before it.
    """

    # Covers costs that do not depend on the keys: page faults, a cold cache.
    _BASE_S = 0.5
    # An int takes 0.1 us. A tuple takes 0.3 us or more, but its items also add to the budget.
    _PER_ITEM_S = 2e-6

    # 64 keys cost at most 32 comparisons each, which is linear.
    LEAF_KEYS_PER_STEP = 64
    # Reading the clock takes as long as inserting a few tuples.
    OTHER_KEYS_PER_STEP = 4

    def __init__(self) -> None:
        self._left_s = 0.0
        self.has_large_int = False
        self.has_decimal = False

    def allow(self, items: int) -> None:
        """Set the budget for a value with that many leaves and ops."""
        self._left_s = self._BASE_S + self._PER_ITEM_S * items

    def insert(self, add: Callable[[int, int], object], keys: Sequence[Any]) -> None:
        """Call `add(start, end)` for slices of the keys until all are inserted.

        Raises:
            BadDataError: Inserting takes too long.
        """
        # Comparing large ints takes up to as long as reading them: 64 keys of 1 MB take 0.3 s.
        are_leaves = not self.has_large_int and LEAF_TYPES.issuperset(map(type, keys))
        step = self.LEAF_KEYS_PER_STEP if are_leaves else self.OTHER_KEYS_PER_STEP
        if are_leaves and len(keys) <= step:
            add(0, len(keys))
            return
        for start in range(0, len(keys), step):
            began = time.thread_time()
            add(start, start + step)
            self._left_s -= time.thread_time() - began
            if self._left_s < 0:
                raise BadDataError("the keys of its sets and dicts collide: inserting them takes too long")

    def check_comparable(self, keys: list[Any]) -> None:
        """Raise BadDataError for keys that may be both Decimals and large ints.

        Decimal == int converts the int, which takes quadratic time: 0.8 s for 100 kB.
        """
        may_be_slow = self.has_large_int and self.has_decimal
        if may_be_slow and not LEAF_TYPES.issuperset(map(type, keys)):
            raise BadDataError("keys may be both Decimals and ints above 1 KiB, which take long to compare")
