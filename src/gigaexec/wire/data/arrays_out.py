"""Split numpy arrays and scalars into items. Runs in the worker, in the process of the program.

This module does not import numpy: a program that returns an array or a numpy scalar has imported numpy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gigaexec.untrusted.plain_values import loaded_numpy
from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.format import UnfitValueError

if TYPE_CHECKING:
    from gigaexec.wire.data.context import EncodingContext

_SIMPLE_KINDS = "biufcmMSUV"

# Kinds of scalars that are sent as a leaf. float64 is sent as a leaf, too. Other scalars are sent as bytes.
_LEAF_SCALARS = {"b": bool, "i": int, "u": int}


def is_numpy(value: Any, class_name: str) -> bool:
    """True if numpy is imported and the value is an instance of the numpy class `class_name`."""
    numpy = loaded_numpy()
    return numpy is not None and isinstance(value, getattr(numpy, class_name))


def take_array(value: Any, encoding: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return the op code and the items of an array.

    Raises:
        UnfitValueError: The array is of a subclass of numpy.ndarray, the data format cannot encode its dtype,
            or the array is empty and exceeds `MAX_EMPTY_EXTENT_BYTES`.
        ValueNotDataError: The array exceeds `max_bytes`.
    """
    order, shape, dtype = _describe_array(value)
    encoding.check_room(value.nbytes)  # nbytes of a broadcast array can far exceed its memory
    content = encoding.content(_contiguous_content(value, order))
    return fmt.ARRAY, (order, content, len(shape), *shape, *dtype)


def take_exact_array(value: Any, encoding: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return the op code and the items of an array from which the decoder makes exactly the same array.

    Raises:
        UnfitValueError: As `take_array`; or the array is a memmap, or its dtype has metadata.
        ValueNotDataError: The array exceeds `max_bytes`.
    """
    if type(value) is not sys.modules["numpy"].ndarray or _has_metadata(value.dtype):
        raise UnfitValueError("is an array that the data format cannot encode exactly")
    return take_array(value, encoding)


def _has_metadata(dtype: Any) -> bool:
    fields = dtype.fields.values() if dtype.fields else ()
    return dtype.metadata is not None or any(_has_metadata(field[0]) for field in fields)


def _describe_array(value: Any) -> tuple[str, tuple[int, ...], list[Any]]:
    """Return the array's memory order, its shape, and the leaves that describe its dtype."""
    numpy = sys.modules["numpy"]
    kind = type(value)
    if kind is not numpy.ndarray and kind is not numpy.memmap:
        raise UnfitValueError(
            f"is a {kind.__module__}.{kind.__qualname__}, a subclass of numpy.ndarray, which the data format "
            "cannot encode; numpy.asarray() makes an ordinary array"
        )
    extent_bytes = math.prod(size or 1 for size in value.shape) * value.dtype.itemsize
    if not value.size and extent_bytes > fmt.MAX_EMPTY_EXTENT_BYTES:
        raise UnfitValueError(
            f"is an empty array of shape {value.shape}: its nonzero dimensions would take {extent_bytes} "
            f"bytes, limit {fmt.MAX_EMPTY_EXTENT_BYTES} bytes"
        )
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return "F" if is_fortran else "C", value.shape, _describe_dtype(value.dtype)


def _contiguous_content(value: Any, order: str) -> memoryview:
    """Return the array's content in memory order `order`. Only a non-contiguous array is copied."""
    numpy = sys.modules["numpy"]
    flat = value.reshape(-1, order=order) if value.flags.forc else numpy.ascontiguousarray(value).reshape(-1)
    # Viewed as bytes, because memoryview supports neither dates nor structures.
    return memoryview(flat.view(numpy.ndarray).view(numpy.uint8))


def take_scalar(value: Any, _: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return the op code and the items of a numpy scalar.

    Raises:
        UnfitValueError: The data format cannot encode the class or the dtype of the scalar.
    """
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.str_):
        _check_scalar_type(value, numpy.str_)
        return fmt.NUMPY_STR, (str.__str__(value),)  # numpy.str_.__str__ drops trailing NULs
    if isinstance(value, numpy.bytes_):
        _check_scalar_type(value, numpy.bytes_)
        return fmt.NUMPY_BYTES, (bytes(value),)
    if type(value).__module__ != "numpy":
        raise UnfitValueError(
            f"is a {type(value).__module__}.{type(value).__qualname__}, which the data format cannot encode"
        )
    description = _describe_dtype(value.dtype)
    leaf_type = float if description == ["<f8"] else _LEAF_SCALARS.get(value.dtype.kind)
    content = leaf_type(value) if leaf_type else value.tobytes()
    return fmt.NUMPY_SCALAR, (content, *description)


def _check_scalar_type(value: Any, expected: type) -> None:
    if type(value) is not expected:
        raise UnfitValueError(
            f"is a {type(value).__module__}.{type(value).__qualname__}, a subclass of "
            f"numpy.{expected.__name__}, which the data format cannot encode"
        )


def _describe_dtype(dtype: Any, depth: int = 0) -> list[Any]:
    """Return the leaves that describe a dtype, as defined in format.py."""
    if depth > fmt.MAX_DTYPE_DEPTH:
        raise UnfitValueError(
            f"is of a dtype with more than {fmt.MAX_DTYPE_DEPTH} levels of structures; the data format "
            "cannot encode such a dtype"
        )
    if dtype.hasobject:
        raise UnfitValueError(
            f"is of dtype {dtype}, which contains Python objects; the data format cannot encode such a dtype"
        )
    if dtype.itemsize == 0:
        raise UnfitValueError(
            f"is of dtype {dtype!r}, whose items take no bytes; the data format cannot encode such a dtype"
        )
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [fmt.SUBARRAY, len(shape), *shape, *_describe_dtype(base, depth + 1)]
    if dtype.names is not None:
        return _describe_structure(dtype, depth)
    text: str = dtype.str
    # dtypes of other packages, such as bfloat16, have the same dtype.str as raw bytes.
    if dtype.kind not in _SIMPLE_KINDS or sys.modules["numpy"].dtype(text) != dtype:
        raise UnfitValueError(f"is of dtype {dtype}, which the data format cannot encode")
    return [text]


def _describe_structure(dtype: Any, depth: int) -> list[Any]:
    described = [fmt.STRUCTURE, dtype.itemsize, dtype.isalignedstruct, len(dtype.names)]
    end = 0
    by_offset = sorted((dtype.fields[name] for name in dtype.names), key=lambda field: field[1])
    for field_dtype, offset, *_ in by_offset:
        if offset < end:
            raise UnfitValueError(
                f"is of dtype {dtype}, whose fields overlap; the data format cannot encode such a dtype"
            )
        end = offset + field_dtype.itemsize
    for name in dtype.names:
        field_dtype, offset, *title = dtype.fields[name]
        if title:
            raise UnfitValueError(
                f"is of dtype {dtype}, which has field titles; the data format cannot encode such a dtype"
            )
        described += [name, offset, *_describe_dtype(field_dtype, depth + 1)]
    return described
