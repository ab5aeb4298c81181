"""The time limit on inserting untrusted keys into sets and dicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from gigaexec.wire.data.format import LEAF_TYPES, BadDataError


class HashingBudget:
    """A limit on the CPU time that colliding keys can cost.

    A program that chooses ints also chooses their hashes, and the hashes of containers of ints. Inserting n
    colliding keys costs n * n / 2 comparisons. Counting equal hashes would not help: keys with different
    hashes can be made to probe the same slots one after the other. So the CPU time of inserting is measured,
    for this thread only. Decoding fails when the CPU time exceeds the budget. The budget is at least ten
    times the time that honest keys need.

    Each level of nested frozensets multiplies the time of a comparison. The factor is at most proportional to
    the time of building that level. Therefore building even small sets of such keys is measured. So inserting
    one slice of keys never takes much longer than all slices before it.
    """

    # Allowance for costs that do not depend on the keys, such as page faults and a cold cache. When a dict
    # grows, one call of C code inserts all its keys again. With colliding keys, it takes 3 ms for 2,730 keys
    # and 12 ms for 5,461 keys. Inserting so many keys takes 40 ms and 140 ms.
    _BASE_S = 0.02
    # Inserting an int takes 0.1 us, a tuple 0.3 us or more. The items of a tuple add to the budget too.
    _PER_ITEM_S = 2e-6

    # A slice that takes this long is made smaller, so that no slice keeps the GIL for several milliseconds.
    _LONG_STEP_S = 0.0005

    # Keys per measurement, if all keys are leaves. In a slice of 64 keys, each key costs at most 32
    # comparisons on average, so the time is linear.
    LEAF_KEYS_PER_STEP = 64
    # Keys per measurement for all other keys. Not 1, because reading the clock takes as long as inserting a
    # few tuples.
    OTHER_KEYS_PER_STEP = 4
    # Keys whose types are checked between two pauses.
    _KEYS_PER_CHECK = 16 * 1024

    def __init__(self, pause: Callable[[], object] = int) -> None:
        """`pause` is called between slices, so that another thread gets the GIL."""
        self._left_s = 0.0
        self._pause = pause
        self.has_large_int = False
        self.has_decimal = False

    def allow(self, items: int) -> None:
        """Set the budget for a value with `items` leaves and ops in total."""
        self._left_s = self._BASE_S + self._PER_ITEM_S * items

    def allow_only(self, seconds: float) -> None:
        """Set a budget that does not depend on the size of the value."""
        self._left_s = seconds

    def insert(self, add: Callable[[int, int], object], keys: Sequence[Any]) -> None:
        """Call `add(start, end)` for one slice of the keys after another, until all keys are inserted.

        Raises:
            BadDataError: The CPU time of inserting keys exceeded the budget.
        """
        # Large ints are inserted in the smaller slices, because comparing two large ints can take as long as
        # reading them: 64 keys of 1 MB take 0.3 s.
        are_leaves = not self.has_large_int and self._are_leaves(keys)
        step = self.LEAF_KEYS_PER_STEP if are_leaves else self.OTHER_KEYS_PER_STEP
        if are_leaves and len(keys) <= step:
            add(0, len(keys))
            return
        start = 0
        while start < len(keys):
            began = time.thread_time()
            add(start, start + step)
            took_s = time.thread_time() - began
            self._left_s -= took_s
            start += step
            if took_s > self._LONG_STEP_S:
                step = max(1, step // 4)  # the keys collide, so each insertion takes longer than the last
            self._pause()
            if self._left_s < 0:
                raise BadDataError("inserting set or dict keys takes too long, because their hashes collide")

    def _are_leaves(self, keys: Sequence[Any]) -> bool:
        if len(keys) <= self.LEAF_KEYS_PER_STEP:
            return LEAF_TYPES.issuperset(map(type, keys))
        for start in range(0, len(keys), self._KEYS_PER_CHECK):
            if not LEAF_TYPES.issuperset(map(type, keys[start : start + self._KEYS_PER_CHECK])):
                return False
            self._pause()
        return True

    def check_comparable(self, keys: list[Any]) -> None:
        """Raise BadDataError if the keys could mix Decimals with large ints.

        Comparing a Decimal with an int converts the int in quadratic time: 0.8 s for 100 kB. Keys nested in
        keys are not inspected. So unless all keys are leaves, this method raises if the decoder has met a
        Decimal and a large int anywhere in the value.
        """
        may_be_slow = self.has_large_int and self.has_decimal
        if may_be_slow and not LEAF_TYPES.issuperset(map(type, keys)):
            raise BadDataError(
                "set or dict keys could mix Decimals with ints above 1 KiB, which take too long to compare"
            )
