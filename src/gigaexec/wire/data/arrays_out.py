"""numpy's arrays and scalars as data, without importing numpy: a value holds some only where it is loaded."""

from __future__ import annotations

import math
import sys
from typing import Any

from gigaexec.wire.data import format as fmt

_SIMPLE_KINDS = "biufcmMSUV"

# Scalars that travel as the leaf of the same value. Not so floats of other sizes, and dates.
_LEAF_SCALARS = {"b": bool, "i": int, "u": int}


class UnfitArrayError(Exception):
    """An array or scalar is not data; the message goes on after its place."""


def is_numpy(value: Any, class_name: str) -> bool:
    """Whether it is an instance of that class of numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, class_name))


def describe_array(value: Any) -> tuple[str, tuple[int, ...], list[Any]]:
    """Memory order, shape and dtype.

    Raises:
        UnfitArrayError: It is of a subclass of numpy.ndarray, its dtype is not data, or it is empty and of an
            extent that the decoder refuses.
    """
    numpy = sys.modules["numpy"]
    kind = type(value)
    if kind is not numpy.ndarray and kind is not numpy.memmap:
        raise UnfitArrayError(
            f"is a {kind.__module__}.{kind.__qualname__}, a subclass of numpy.ndarray, which is not data; "
            "numpy.asarray() makes an ordinary array"
        )
    extent_bytes = math.prod(size or 1 for size in value.shape) * value.dtype.itemsize
    if not value.size and extent_bytes > fmt.MAX_EMPTY_EXTENT_BYTES:
        raise UnfitArrayError(
            f"is an empty array of shape {value.shape}, whose other dimensions are {extent_bytes} bytes; "
            f"that is not data beyond {fmt.MAX_EMPTY_EXTENT_BYTES} bytes"
        )
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return "F" if is_fortran else "C", value.shape, _describe_dtype(value.dtype)


def contiguous_content(value: Any, order: str) -> memoryview:
    """The array's memory in that order; a copy only where it has gaps."""
    numpy = sys.modules["numpy"]
    flat = value.reshape(-1, order=order) if value.flags.forc else numpy.ascontiguousarray(value).reshape(-1)
    # As bytes: memoryview knows neither dates nor structures.
    return memoryview(flat.view(numpy.ndarray).view(numpy.uint8))


def scalar_parts(value: Any) -> tuple[int, tuple[Any, ...]]:
    """Code and items of a numpy scalar.

    Raises:
        UnfitArrayError: Its dtype is not data.
    """
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.str_):
        _check_scalar_type(value, numpy.str_)
        return fmt.NUMPY_STR, (str.__str__(value),)  # its own drops NULs at the end
    if isinstance(value, numpy.bytes_):
        _check_scalar_type(value, numpy.bytes_)
        return fmt.NUMPY_BYTES, (bytes(value),)
    if type(value).__module__ != "numpy":
        raise UnfitArrayError(f"is a {type(value).__module__}.{type(value).__qualname__}, which is not data")
    description = _describe_dtype(value.dtype)
    leaf_type = float if description == ["<f8"] else _LEAF_SCALARS.get(value.dtype.kind)
    content = leaf_type(value) if leaf_type else value.tobytes()
    return fmt.NUMPY_SCALAR, (content, *description)


def _check_scalar_type(value: Any, expected: type) -> None:
    if type(value) is not expected:
        raise UnfitArrayError(f"is of a subclass of numpy.{expected.__name__}, which is not data")


def _describe_dtype(dtype: Any, depth: int = 0) -> list[Any]:
    """Leaves as data_format.py says."""
    if depth > fmt.MAX_DTYPE_DEPTH:
        raise UnfitArrayError(
            f"is of a dtype with more than {fmt.MAX_DTYPE_DEPTH} levels of structures, which is not data"
        )
    if dtype.hasobject:
        raise UnfitArrayError(f"is of dtype {dtype}, which holds Python objects and is not data")
    if dtype.itemsize == 0:
        raise UnfitArrayError(f"is of dtype {dtype!r}, whose items take no bytes; that is not data")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [fmt.SUBARRAY, len(shape), *shape, *_describe_dtype(base, depth + 1)]
    if dtype.names is not None:
        return _describe_structure(dtype, depth)
    text: str = dtype.str
    # Types of other packages, such as bfloat16, call themselves raw bytes there.
    if dtype.kind not in _SIMPLE_KINDS or sys.modules["numpy"].dtype(text) != dtype:
        raise UnfitArrayError(f"is of dtype {dtype}, which is not data")
    return [text]


def _describe_structure(dtype: Any, depth: int) -> list[Any]:
    described = [fmt.STRUCTURE, dtype.itemsize, dtype.isalignedstruct, len(dtype.names)]
    end = 0
    by_offset = sorted((dtype.fields[name] for name in dtype.names), key=lambda field: field[1])
    for field_dtype, offset, *_ in by_offset:
        if offset < end:
            raise UnfitArrayError(f"is of dtype {dtype}, whose fields overlap; that is not data")
        end = offset + field_dtype.itemsize
    for name in dtype.names:
        field_dtype, offset, *title = dtype.fields[name]
        if title:
            raise UnfitArrayError(f"is of dtype {dtype}, which has titles; that is not data")
        described += [name, offset, *_describe_dtype(field_dtype, depth + 1)]
    return described
