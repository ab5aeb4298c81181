"""Find objects that occur twice in a value. Runs in the worker, in the process of the program.

The data format writes an object once for each occurrence, so the driver would get several objects: a change
of one would not change the other, and a large object would be sent several times. A pickle keeps the object
single. So a value with repeated objects is pickled, if pickles are allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gigaexec.wire.data.arrays_out import is_numpy
from gigaexec.wire.data.format import LEAF_TYPES, UnfitValueError
from gigaexec.wire.data.simple_types import SIMPLE_TYPES

# Maximum items of a constant that may be repeated, such as ((0, 1), (1, 0)): the compiler creates one object
# for equal constants, so repeated constants are frequent. Writing a constant again costs a few bytes.
_MOST_CONSTANT_ITEMS = 16
_MOST_CONSTANT_CHARACTERS = 256

_IMMUTABLE = LEAF_TYPES | {bytes} | {each.kind for each in SIMPLE_TYPES} - {bytearray}


class Repeats:
    """The objects of one value that were found so far."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def check(self, item: Any) -> None:
        """Record an object that is no leaf.

        Raises:
            UnfitValueError: The object was recorded before, and is mutable or large.
        """
        if id(item) not in self._seen:
            self._seen.add(id(item))
        elif not _is_small_constant(item):
            raise UnfitValueError("occurs twice in the value")

    @staticmethod
    def check_leaves(leaves: Iterable[Any]) -> None:
        """Raise UnfitValueError if a long text occurs twice among the leaves of a value."""
        long = [id(leaf) for leaf in leaves if type(leaf) is str and len(leaf) > _MOST_CONSTANT_CHARACTERS]
        if len(long) != len(set(long)):
            raise UnfitValueError("contains a long text twice")


def _is_small_constant(value: Any) -> bool:
    """True if the value is immutable, with everything in it, and small."""
    open_items, room = [value], _MOST_CONSTANT_ITEMS
    while open_items:
        item = open_items.pop()
        if type(item) in (tuple, frozenset):
            room -= len(item)
            if room < 0:
                return False
            open_items += item
        elif not _is_small_scalar(item):
            return False
    return True


def _is_small_scalar(item: Any) -> bool:
    if type(item) in (str, bytes):
        return len(item) <= _MOST_CONSTANT_CHARACTERS
    return type(item) in _IMMUTABLE or _is_numpy_constant(item)


def _is_numpy_constant(value: Any) -> bool:
    is_immutable = is_numpy(value, "generic") and not is_numpy(value, "void")
    return is_immutable and value.nbytes <= _MOST_CONSTANT_CHARACTERS
