"""Build numpy arrays and scalars from untrusted items. Importing this module imports numpy.

numpy does not validate array memory. Indexing with a bool array that contains the byte 2 writes past the end
of another array, and an object dtype takes pointers from array memory. So dtypes are assembled here from
checked parts. Where a dtype does not allow every bit pattern (bool, str), the contents are checked.
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

# Allowed dtype.str: byte order, kind, size, and the unit of dates. The kinds O (object pointers) and T
# (string pointers) and the size 0 are not allowed.
_SIMPLE_DTYPE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[SUV][1-9][0-9]{0,9}"
    r"|[mM]8(?:\[(?:[1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)"
)
# numpy stores sizes in a C ssize_t. An untrusted int may have millions of digits: multiplying two such ints
# takes minutes, and blocks all other threads (GIL).
_MAX_SIZE = 2**63 - 1
# numpy stores the size of an array item in a C int.
_MAX_ITEM_BYTES = 2**31 - 1
# The limit of numpy 2.0 and later. Older versions allow 32.
_MAX_DIMENSIONS = 64

_LAST_CODE_POINT = 0x10FFFF
_LEAF_SCALAR_TYPES = {"b": bool, "i": int, "u": int, "f": float}


def make_array(items: Sequence[Any], decoding: DecodingContext) -> numpy.ndarray[Any, Any]:
    """Return an array that uses the content in `items` without a copy.

    The array keeps the content alive. The array is writable if the content is writable.

    Raises:
        Exception: The items are not valid: BadDataError, or an exception of numpy.
    """
    order, content, dimensions, *rest = items
    exactly("an array", [order, dimensions], str, int)
    if dimensions < 0:
        raise BadDataError(f"expected an array of 0 or more dimensions, got {_shown(dimensions)}")
    if dimensions > len(rest):
        raise BadDataError(
            f"an array declares {_shown(dimensions)} dimensions, but only {len(rest)} items follow for its "
            "shape and dtype"
        )
    shape = exactly("the shape of an array", rest[:dimensions], *[int] * dimensions)
    return _array_on(decoding.content(content), rest[dimensions:], order, shape)


def make_scalar(items: Sequence[Any]) -> Any:
    """Return a numpy scalar.

    The first item is the scalar's memory as bytes, or its value as int, bool or float. The other items are
    the scalar's dtype.
    """
    content, *description = items
    if type(content) is bytes:
        return _array_on(memoryview(bytearray(content)), description, "C", ())[()]
    dtype = _dtype_of(description)
    expected = _LEAF_SCALAR_TYPES.get(dtype.kind, bytes)
    if type(content) is not expected:
        raise BadDataError(
            f"expected {expected.__name__} as the content of a numpy scalar of dtype.kind {dtype.kind!r}, "
            f"got {type(content).__name__}"
        )
    return dtype.type(content)


def make_str(items: Sequence[Any]) -> numpy.str_:
    """Return a numpy.str_ with the text of the only item."""
    return numpy.str_(*exactly("a numpy.str_", items, str))


def make_bytes(items: Sequence[Any]) -> numpy.bytes_:
    """Return a numpy.bytes_ with the contents of the only item."""
    return numpy.bytes_(*exactly("a numpy.bytes_", items, bytes))


def _array_on(
    content: memoryview, description: Sequence[Any], order: str, shape: Sequence[int]
) -> numpy.ndarray[Any, Any]:
    dtype = _dtype_of(description)
    if order not in ("C", "F"):
        raise BadDataError(f"expected an array of order 'C' or 'F', got {order!r:.20}")
    if len(shape) > _MAX_DIMENSIONS:
        raise BadDataError(f"expected an array of at most {_MAX_DIMENSIONS} dimensions, got {len(shape)}")
    for size in shape:
        if not _is_size(size):
            raise BadDataError(f"a dimension of an array must be from 0 to {_MAX_SIZE}, got {_shown(size)}")
    needed_bytes = math.prod(shape) * dtype.itemsize
    if needed_bytes != content.nbytes:
        raise BadDataError(
            f"the content of an array has {content.nbytes} bytes, but its shape and dtype need "
            f"{_shown(needed_bytes)} bytes"
        )
    if math.prod(size or 1 for size in shape) * dtype.itemsize > max(
        content.nbytes, fmt.MAX_EMPTY_EXTENT_BYTES
    ):
        raise BadDataError(
            f"an empty array has shape {tuple(shape)}; its nonzero dimensions would take more "
            f"than {fmt.MAX_EMPTY_EXTENT_BYTES} bytes"
        )
    memory_order: Literal["C", "F"] = "F" if order == "F" else "C"
    if not content.nbytes:
        return numpy.empty(shape, dtype, memory_order)
    # numpy.ndarray(buffer=memoryview) keeps a reference to the underlying object, but no buffer export. So an
    # mmap could be closed while the array uses it. The array of frombuffer() keeps the memoryview, and so the
    # export.
    array: numpy.ndarray[Any, Any] = numpy.ndarray(
        shape, dtype, numpy.frombuffer(content, numpy.uint8), order=memory_order
    )
    _check_content(array)
    return array


def _dtype_of(description: Sequence[Any]) -> numpy.dtype[Any]:
    if len(description) == 1:
        return _simple_dtype(description[0])
    parts = iter(description)
    try:
        dtype = _next_dtype(parts, 0)
    except StopIteration:
        raise BadDataError("the description of a dtype is incomplete") from None
    if next(parts, parts) is not parts:
        raise BadDataError("surplus items follow the description of a dtype")
    if dtype.subdtype is not None:
        raise BadDataError("expected a simple or structured dtype, got the dtype of a subarray")
    return dtype


@functools.lru_cache(maxsize=256)
def _simple_dtype(text: object) -> numpy.dtype[Any]:
    if type(text) is not str or not _SIMPLE_DTYPE.fullmatch(text):
        raise BadDataError(f"dtype {text!r:.80} is not allowed in the data format")
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
            raise BadDataError(
                f"expected a subarray of at most {_MAX_ITEM_BYTES} bytes, with dimensions of 1 or more; got "
                f"shape {tuple(shape)} of {base.itemsize}-byte items"
            )
        dtype = numpy.dtype((base, tuple(shape)))
    else:
        dtype = _simple_dtype(word)
    return dtype


def _next_structure(parts: Iterator[Any], depth: int) -> numpy.dtype[Any]:
    itemsize, is_aligned, count = _next(parts, int), _next(parts, bool), _next(parts, int)
    if not 0 < itemsize <= _MAX_ITEM_BYTES:
        raise BadDataError(
            f"the item size of a structured dtype must be from 1 to {_MAX_ITEM_BYTES}, got {itemsize}"
        )
    fields = [(_next(parts, str), _next(parts, int), _next_dtype(parts, depth + 1)) for _ in range(count)]
    end = 0
    for _, offset, field_dtype in sorted(fields, key=lambda field: field[1]):
        if offset < end:
            raise BadDataError(
                f"the fields of a structured dtype overlap: one starts at byte {offset}, before the end "
                f"of the previous one at byte {end}"
            )
        end = offset + field_dtype.itemsize
    if end > itemsize:
        raise BadDataError(
            f"the fields of a structured dtype end at byte {end}, but its item size is {itemsize} bytes"
        )
    names, offsets, formats = zip(*fields, strict=True) if fields else ((), (), ())
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    dtype: numpy.dtype[Any] = numpy.dtype(layout, align=is_aligned)
    return dtype


def _next(parts: Iterator[Any], kind: type) -> Any:
    part = next(parts)
    if type(part) is not kind:
        raise BadDataError(f"expected {kind.__name__} in a dtype description, got {type(part).__name__}")
    if kind is int and not _is_size(part):
        raise BadDataError(
            f"a size or offset in a dtype description must be from 0 to {_MAX_SIZE}, got {_shown(part)}"
        )
    return part


def _is_size(number: Any) -> bool:
    return bool(0 <= number <= _MAX_SIZE)


def _shown(number: Any) -> str:
    # str() takes long for a huge int, or raises ValueError.
    return str(number) if number.bit_length() <= 128 else f"an int of {number.bit_length()} bits"


def _check_content(array: numpy.ndarray[Any, Any]) -> None:
    """Raise BadDataError for bytes that numpy does not expect: bools above 1, code points above U+10FFFF."""
    dtype = array.dtype
    if dtype.kind == "b":
        if array.view(numpy.uint8).max() > 1:
            raise BadDataError("a bool array contains a byte other than 0 and 1")
    elif dtype.kind == "U":
        code_points = numpy.dtype("u4").newbyteorder(dtype.byteorder)
        characters = array.view(numpy.dtype((code_points, (dtype.itemsize // 4,))))
        if characters.max() > _LAST_CODE_POINT:
            raise BadDataError("a str array contains a code point above U+10FFFF")
    else:
        for name in dtype.names or ():
            _check_content(array[name])
