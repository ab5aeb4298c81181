"""Items -> numpy arrays and scalars, from items that may be hostile. Importing this module imports numpy.

numpy trusts array memory: indexing with a bool array that holds a 2 writes past the end of another array,
and a dtype with objects reads addresses from it. So dtypes are assembled here from checked parts, and the
contents of dtypes with forbidden values are checked.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.format import BadDataError
from gigaexec.wire.data.simple_types import exactly

if TYPE_CHECKING:
    from gigaexec.wire.data.context import DecodingContext

# Kind and size, and the unit of dates. Never O (objects) or T (strings by address); never a size of 0.
_SIMPLE_DTYPE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][1-9][0-9]{0,9}"
    r"|[mM]8(?:\[(?:[1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
# numpy keeps sizes in a C ssize_t. A larger int may have millions of digits: multiplying two of those takes
# minutes, in which no other thread of this process runs.
_MAX_SIZE = 2**63 - 1
# numpy keeps the size of an item in a C int.
_MAX_ITEM_BYTES = 2**31 - 1
# numpy's own limit since 2.0; 32 before that.
_MAX_DIMENSIONS = 64

_LAST_CODE_POINT = 0x10FFFF
_LEAF_SCALAR_TYPES = {"b": bool, "i": int, "u": int, "f": float}


def make_array(items: Sequence[Any], decoding: DecodingContext) -> numpy.ndarray[Any, Any]:
    """Return an array on its content, which it keeps alive; it is writable if the content is.

    Raises:
        Exception: The items are not valid. Some errors are numpy's own.
    """
    order, content, dimensions, *rest = items
    exactly([order, dimensions], str, int)
    if not 0 <= dimensions <= len(rest):
        raise BadDataError("the shape of an array is truncated")
    shape = exactly(rest[:dimensions], *[int] * dimensions)
    return _array_on(decoding.content(content), rest[dimensions:], order, shape)


def make_scalar(items: Sequence[Any]) -> Any:
    """Return a numpy scalar made from the bytes of its content, or from its value as int, bool or float."""
    content, *description = items
    if type(content) is bytes:
        return _array_on(memoryview(bytearray(content)), description, "C", ())[()]
    dtype = _dtype_of(description)
    if type(content) is not _LEAF_SCALAR_TYPES.get(dtype.kind):
        raise BadDataError(f"expected a numpy scalar of kind {dtype.kind}, got {type(content).__name__}")
    return dtype.type(content)


def make_str(items: Sequence[Any]) -> numpy.str_:
    """Return a numpy.str_."""
    return numpy.str_(*exactly(items, str))


def make_bytes(items: Sequence[Any]) -> numpy.bytes_:
    """Return a numpy.bytes_."""
    return numpy.bytes_(*exactly(items, bytes))


def _array_on(
    content: memoryview, description: Sequence[Any], order: str, shape: Sequence[int]
) -> numpy.ndarray[Any, Any]:
    dtype = _dtype_of(description)
    if order not in ("C", "F") or len(shape) > _MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise BadDataError("the order of an array is not C or F, or its shape is invalid")
    if math.prod(shape) * dtype.itemsize != content.nbytes:
        raise BadDataError(
            f"the content of an array has {content.nbytes} bytes, which does not match its shape and dtype"
        )
    if math.prod(size or 1 for size in shape) * dtype.itemsize > max(
        content.nbytes, fmt.MAX_EMPTY_EXTENT_BYTES
    ):
        raise BadDataError("an empty array with a huge dimension")
    memory_order: Literal["C", "F"] = "F" if order == "F" else "C"
    if not content.nbytes:
        return numpy.empty(shape, dtype, memory_order)
    # numpy.ndarray() given a memoryview refers to the object below it without an export: a mapping could be
    # closed under the array. frombuffer() keeps the memoryview.
    array: numpy.ndarray[Any, Any] = numpy.ndarray(
        shape, dtype, numpy.frombuffer(content, numpy.uint8), order=memory_order
    )
    _check_content(array)
    return array


def _dtype_of(description: Sequence[Any]) -> numpy.dtype[Any]:
    if len(description) == 1:
        return _simple_dtype(description[0])
    parts = iter(description)
    dtype = _next_dtype(parts, 0)
    if next(parts, parts) is not parts or dtype.subdtype is not None:
        raise BadDataError("a dtype description has surplus parts")
    return dtype


@functools.lru_cache(maxsize=256)
def _simple_dtype(text: object) -> numpy.dtype[Any]:
    if type(text) is not str or not _SIMPLE_DTYPE.fullmatch(text):
        raise BadDataError(f"dtype {text!r:.80} is not data")
    return numpy.dtype(text)


def _next_dtype(parts: Iterator[Any], depth: int) -> numpy.dtype[Any]:
    if depth > fmt.MAX_DTYPE_DEPTH:
        raise BadDataError(f"a dtype is nested deeper than {fmt.MAX_DTYPE_DEPTH} levels")
    word = next(parts)
    if word == fmt.STRUCTURE:
        dtype = _next_structure(parts, depth)
    elif word == fmt.SUBARRAY:
        dimensions = _next(parts, int)
        shape = [_next(parts, int) for _ in range(min(dimensions, _MAX_DIMENSIONS))]
        base = _next_dtype(parts, depth + 1)
        if any(size < 1 for size in shape) or math.prod(shape) * base.itemsize > _MAX_ITEM_BYTES:
            raise BadDataError("the size of a subarray is invalid")
        dtype = numpy.dtype((base, tuple(shape)))
    else:
        dtype = _simple_dtype(word)
    return dtype


def _next_structure(parts: Iterator[Any], depth: int) -> numpy.dtype[Any]:
    itemsize, is_aligned, count = _next(parts, int), _next(parts, bool), _next(parts, int)
    if not 0 < itemsize <= _MAX_ITEM_BYTES:
        raise BadDataError("the item size of a structured dtype is invalid")
    fields = [(_next(parts, str), _next(parts, int), _next_dtype(parts, depth + 1)) for _ in range(count)]
    end = 0
    for _, offset, field_dtype in sorted(fields, key=lambda field: field[1]):
        if offset < end:
            raise BadDataError("the fields of a structured dtype overlap")
        end = offset + field_dtype.itemsize
    if end > itemsize:
        raise BadDataError("the fields of a structured dtype are larger than its item size")
    names, offsets, formats = zip(*fields, strict=True) if fields else ((), (), ())
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    dtype: numpy.dtype[Any] = numpy.dtype(layout, align=is_aligned)
    return dtype


def _next(parts: Iterator[Any], kind: type) -> Any:
    part = next(parts)
    if type(part) is not kind:
        raise BadDataError(f"expected {kind.__name__} in a dtype description, got {type(part).__name__}")
    if kind is int and not _is_size(part):
        raise BadDataError("a size or offset in a dtype description is out of range")
    return part


def _is_size(number: Any) -> bool:
    return bool(0 <= number <= _MAX_SIZE)


def _check_content(array: numpy.ndarray[Any, Any]) -> None:
    """Refuse contents that numpy assumes cannot occur: bools other than 0 and 1, invalid code points."""
    dtype = array.dtype
    if dtype.kind == "b":
        if array.view(numpy.uint8).max() > 1:
            raise BadDataError("a bool array holds a byte other than 0 and 1")
    elif dtype.kind == "U":
        code_points = numpy.dtype("u4").newbyteorder(dtype.byteorder)
        characters = array.view(numpy.dtype((code_points, (dtype.itemsize // 4,))))
        if characters.max() > _LAST_CODE_POINT:
            raise BadDataError("a str array holds a code point above U+10FFFF")
    else:
        for name in dtype.names or ():
            _check_content(array[name])
