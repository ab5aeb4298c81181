"""numpy arrays and scalars -> items, without importing numpy: a program that returns them has loaded it.

Runs in the worker, next to the program.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.format import UnfitValueError

if TYPE_CHECKING:
    from gigaexec.wire.data.context import EncodingContext

_SIMPLE_KINDS = "biufcmMSUV"

# Kinds of scalars that travel as a leaf of the same value. Other scalars, except float64, travel as bytes.
_LEAF_SCALARS = {"b": bool, "i": int, "u": int}


def is_numpy(value: Any, class_name: str) -> bool:
    """Return True for an instance of numpy's class `class_name`."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, class_name))


def take_array(value: Any, encoding: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return code and items of an array.

    Raises:
        UnfitValueError: It is of a subclass of numpy.ndarray, its dtype is not data, or it is empty and has a
        dimension that the decoder refuses.
    """
    order, shape, dtype = _describe_array(value)
    encoding.check_room(value.nbytes)  # a broadcast array is larger than its memory
    content = encoding.content(_contiguous_content(value, order))
    return fmt.ARRAY, (order, content, len(shape), *shape, *dtype)


def _describe_array(value: Any) -> tuple[str, tuple[int, ...], list[Any]]:
    """Return memory order, shape and dtype."""
    numpy = sys.modules["numpy"]
    kind = type(value)
    if kind is not numpy.ndarray and kind is not numpy.memmap:
        raise UnfitValueError(
            f"is a {kind.__module__}.{kind.__qualname__}, a subclass of numpy.ndarray, which is not data; "
            "numpy.asarray() makes an ordinary array"
        )
    extent_bytes = math.prod(size or 1 for size in value.shape) * value.dtype.itemsize
    if not value.size and extent_bytes > fmt.MAX_EMPTY_EXTENT_BYTES:
        raise UnfitValueError(
            f"is an empty array of shape {value.shape}, whose other dimensions are {extent_bytes} bytes; "
            f"that is not data above {fmt.MAX_EMPTY_EXTENT_BYTES} bytes"
        )
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return "F" if is_fortran else "C", value.shape, _describe_dtype(value.dtype)


def _contiguous_content(value: Any, order: str) -> memoryview:
    """Return the array's memory in that order; a copy only if it has gaps."""
    numpy = sys.modules["numpy"]
    flat = value.reshape(-1, order=order) if value.flags.forc else numpy.ascontiguousarray(value).reshape(-1)
    # As bytes: memoryview supports neither dates nor structures.
    return memoryview(flat.view(numpy.ndarray).view(numpy.uint8))


def take_scalar(value: Any, _: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return code and items of a numpy scalar. Raises UnfitValueError if its dtype is not data."""
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.str_):
        _check_scalar_type(value, numpy.str_)
        return fmt.NUMPY_STR, (str.__str__(value),)  # numpy.str_.__str__ drops trailing NULs
    if isinstance(value, numpy.bytes_):
        _check_scalar_type(value, numpy.bytes_)
        return fmt.NUMPY_BYTES, (bytes(value),)
    if type(value).__module__ != "numpy":
        raise UnfitValueError(f"is a {type(value).__module__}.{type(value).__qualname__}, which is not data")
    description = _describe_dtype(value.dtype)
    leaf_type = float if description == ["<f8"] else _LEAF_SCALARS.get(value.dtype.kind)
    content = leaf_type(value) if leaf_type else value.tobytes()
    return fmt.NUMPY_SCALAR, (content, *description)


def _check_scalar_type(value: Any, expected: type) -> None:
    if type(value) is not expected:
        raise UnfitValueError(f"is of a subclass of numpy.{expected.__name__}, which is not data")


def _describe_dtype(dtype: Any, depth: int = 0) -> list[Any]:
    """Return a description of leaves, see format.py."""
    if depth > fmt.MAX_DTYPE_DEPTH:
        raise UnfitValueError(
            f"is of a dtype with more than {fmt.MAX_DTYPE_DEPTH} levels of structures, which is not data"
        )
    if dtype.hasobject:
        raise UnfitValueError(f"is of dtype {dtype}, which holds Python objects and is not data")
    if dtype.itemsize == 0:
        raise UnfitValueError(f"is of dtype {dtype!r}, whose items take no bytes, which is not data")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [fmt.SUBARRAY, len(shape), *shape, *_describe_dtype(base, depth + 1)]
    if dtype.names is not None:
        return _describe_structure(dtype, depth)
    text: str = dtype.str
    # Types of other packages, such as bfloat16, have the dtype.str of raw bytes.
    if dtype.kind not in _SIMPLE_KINDS or sys.modules["numpy"].dtype(text) != dtype:
        raise UnfitValueError(f"is of dtype {dtype}, which is not data")
    return [text]


def _describe_structure(dtype: Any, depth: int) -> list[Any]:
    described = [fmt.STRUCTURE, dtype.itemsize, dtype.isalignedstruct, len(dtype.names)]
    end = 0
    by_offset = sorted((dtype.fields[name] for name in dtype.names), key=lambda field: field[1])
    for field_dtype, offset, *_ in by_offset:
        if offset < end:
            raise UnfitValueError(f"is of dtype {dtype}, whose fields overlap, which is not data")
        end = offset + field_dtype.itemsize
    for name in dtype.names:
        field_dtype, offset, *title = dtype.fields[name]
        if title:
            raise UnfitValueError(f"is of dtype {dtype}, which has titles and is not data")
        described += [name, offset, *_describe_dtype(field_dtype, depth + 1)]
    return described
