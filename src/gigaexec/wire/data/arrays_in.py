"""numpy's arrays and scalars from data that may be hostile. Importing this module imports numpy.

numpy trusts its own memory: an array of bools that holds a 2 makes it write past the end of another
array, a dtype with objects reads addresses from it. So dtypes are put together here, from parts that are
checked, and contents that have forbidden values are looked at.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy

from gigaexec.wire.data import format as fmt

# Kind and size, and the unit of dates. Never O (objects) or T (texts by address); never a size of 0.
_SIMPLE_DTYPE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][1-9][0-9]{0,9}"
    r"|[mM]8(?:\[(?:[1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
# numpy keeps sizes in a C ssize_t. Beyond it an int can have millions of digits: multiplying two of those
# takes minutes, in which no other thread of this process runs.
_MAX_SIZE = 2**63 - 1
# numpy keeps the size of an item in a C int.
_MAX_ITEM_BYTES = 2**31 - 1
# numpy's own limit since 2.0; 32 before that.
_MAX_DIMENSIONS = 64

_LAST_CODE_POINT = 0x10FFFF
_LEAF_SCALAR_TYPES = {"b": bool, "i": int, "u": int, "f": float}


class ArrayError(Exception):
    """The description or the content of an array is not valid."""


def make_array(
    description: Sequence[Any], order: str, shape: Sequence[int], content: memoryview
) -> numpy.ndarray[Any, Any]:
    """An array on `content`, which it keeps alive; it can be written to if that can.

    Args:
        description: A dtype as leaves, see data_format.py.
        order: "C" or "F".
        shape: Ints.
        content: As many bytes as shape and dtype say.

    Raises:
        Exception: Something is not valid. numpy finds some of that, in its own words.
    """
    dtype = _dtype_of(description)
    if order not in ("C", "F") or len(shape) > _MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise ArrayError("an array of another order, or of an impossible shape")
    if math.prod(shape) * dtype.itemsize != content.nbytes:
        raise ArrayError(
            f"an array whose content has {content.nbytes} bytes, not those of its shape and dtype"
        )
    if math.prod(size or 1 for size in shape) * dtype.itemsize > max(
        content.nbytes, fmt.MAX_EMPTY_EXTENT_BYTES
    ):
        raise ArrayError("an empty array with a huge dimension")
    memory_order: Literal["C", "F"] = "F" if order == "F" else "C"
    if not content.nbytes:
        return numpy.empty(shape, dtype, memory_order)
    # Given a memoryview, numpy.ndarray() would hold what is below it without a lock: a mapping could be
    # closed under the array. frombuffer() keeps the memoryview.
    array: numpy.ndarray[Any, Any] = numpy.ndarray(
        shape, dtype, numpy.frombuffer(content, numpy.uint8), order=memory_order
    )
    _check_content(array)
    return array


def make_scalar(description: Sequence[Any], content: object) -> Any:
    """A numpy scalar from the bytes of its content, or from the int, bool or float of its value."""
    if type(content) is bytes:
        return make_array(description, "C", (), memoryview(bytearray(content)))[()]
    dtype = _dtype_of(description)
    if type(content) is not _LEAF_SCALAR_TYPES.get(dtype.kind):
        raise ArrayError(f"a numpy scalar of kind {dtype.kind} from {type(content).__name__}")
    return dtype.type(content)


def _dtype_of(description: Sequence[Any]) -> numpy.dtype[Any]:
    if len(description) == 1:
        return _simple_dtype(description[0])
    parts = iter(description)
    dtype = _next_dtype(parts, 0)
    if next(parts, parts) is not parts or dtype.subdtype is not None:
        raise ArrayError("a dtype with parts left over")
    return dtype


@functools.lru_cache(maxsize=256)
def _simple_dtype(text: object) -> numpy.dtype[Any]:
    if type(text) is not str or not _SIMPLE_DTYPE.fullmatch(text):
        raise ArrayError("a dtype that is not data")
    return numpy.dtype(text)


def _next_dtype(parts: Iterator[Any], depth: int) -> numpy.dtype[Any]:
    if depth > fmt.MAX_DTYPE_DEPTH:
        raise ArrayError("a dtype that is nested too deep")
    word = next(parts)
    if word == fmt.STRUCTURE:
        dtype = _next_structure(parts, depth)
    elif word == fmt.SUBARRAY:
        dimensions = _next(parts, int)
        shape = [_next(parts, int) for _ in range(min(dimensions, _MAX_DIMENSIONS))]
        base = _next_dtype(parts, depth + 1)
        if any(size < 1 for size in shape) or math.prod(shape) * base.itemsize > _MAX_ITEM_BYTES:
            raise ArrayError("a subarray of an impossible size")
        dtype = numpy.dtype((base, tuple(shape)))
    else:
        dtype = _simple_dtype(word)
    return dtype


def _next_structure(parts: Iterator[Any], depth: int) -> numpy.dtype[Any]:
    itemsize, is_aligned, count = _next(parts, int), _next(parts, bool), _next(parts, int)
    if not 0 < itemsize <= _MAX_ITEM_BYTES:
        raise ArrayError("a structure of an impossible size")
    fields = [(_next(parts, str), _next(parts, int), _next_dtype(parts, depth + 1)) for _ in range(count)]
    end = 0
    for _, offset, field_dtype in sorted(fields, key=lambda field: field[1]):
        if offset < end:
            raise ArrayError("a structure whose fields overlap")
        end = offset + field_dtype.itemsize
    if end > itemsize:
        raise ArrayError("a structure whose fields are larger than itself")
    names, offsets, formats = zip(*fields, strict=True) if fields else ((), (), ())
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    dtype: numpy.dtype[Any] = numpy.dtype(layout, align=is_aligned)
    return dtype


def _next(parts: Iterator[Any], kind: type) -> Any:
    part = next(parts)
    if type(part) is not kind:
        raise ArrayError(f"{type(part).__name__} in a dtype where {kind.__name__} belongs")
    if kind is int and not _is_size(part):
        raise ArrayError("a dtype with an impossible size or offset")
    return part


def _is_size(number: Any) -> bool:
    return bool(0 <= number <= _MAX_SIZE)


def _check_content(array: numpy.ndarray[Any, Any]) -> None:
    """Refuse values that numpy takes for impossible: bools other than 0 and 1, characters beyond Unicode."""
    dtype = array.dtype
    if dtype.kind == "b":
        if array.view(numpy.uint8).max() > 1:
            raise ArrayError("an array of bools with another byte than 0 and 1")
    elif dtype.kind == "U":
        code_points = numpy.dtype("u4").newbyteorder(dtype.byteorder)
        characters = array.view(numpy.dtype((code_points, (dtype.itemsize // 4,))))
        if characters.max() > _LAST_CODE_POINT:
            raise ArrayError("an array of texts with a character that there is not")
    else:
        for name in dtype.names or ():
            _check_content(array[name])
