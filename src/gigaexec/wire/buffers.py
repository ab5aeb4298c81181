"""Keep large buffers out of pickles, write them aligned, and map them without keeping a descriptor."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Imported by name before any program runs, because a program may replace `cloudpickle.CloudPickler`.
from cloudpickle import CloudPickler as _CloudPickler

SEPARATE_BUFFER_BYTES = 64 * 1024
"""Buffers of this size or more are written after the pickle instead of into it."""

# The size of a cache line. Vector instructions are faster on aligned arrays, and no dtype needs more.
_ALIGNMENT_BYTES = 64

_FAILED = ctypes.c_void_p(-1).value
_MAP_FIXED = 0x10  # from linux/mman.h, and sys/mman.h of macOS: replace the map at the address


def pickle_into(sink: Any, value: object, *, separate_bytes: int | None = None) -> list[memoryview]:
    """Pickle a value with protocol 5.

    Classes and functions of `__main__` and of the program are pickled by value.

    Args:
        sink: Object with a method `write`, which gets the bytes of the pickle.
        value: Object to pickle.
        separate_bytes: Contents of arrays of this size or more are left out of the pickle. With None, the
            pickle contains all contents.

    Returns:
        The contents that were left out, in the order in which the pickle refers to them.

    Raises:
        BaseException: An exception of pickling, or of a class that is pickled.
    """
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Return True to keep the buffer in the pickle, False to leave it out."""
        raw = buffer.raw()
        if separate_bytes is None or raw.nbytes < separate_bytes:
            return True
        buffers.append(raw)
        return False

    callback = take if separate_bytes is not None else None
    _CloudPickler(sink, protocol=5, buffer_callback=callback).dump(value)
    return buffers


def write_aligned(
    write: Callable[[Any], object], end: int, buffers: Iterable[memoryview]
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Write each buffer at the next aligned offset, so that arrays can be built on a map of the file.

    Args:
        write: Function that appends bytes to the file.
        end: Size of the file before the first write.
        buffers: Contiguous buffers to write.

    Returns:
        Offset and size of each buffer, and the new size of the file.
    """
    spans = []
    for buffer in buffers:
        if padding := -end % _ALIGNMENT_BYTES:
            write(bytes(padding))
        start = end + padding
        write(buffer)
        end = start + buffer.nbytes
        spans.append((start, buffer.nbytes))
    return tuple(spans), end


def map_privately(descriptor: int, size: int, *, writable: bool = True) -> memoryview:
    """Map a file copy-on-write, without keeping a descriptor.

    `mmap.mmap` keeps a duplicate of the descriptor as long as the map exists, so a caller that keeps a
    thousand arrays would use up the descriptors of the process. Python 3.13 has `trackfd=False` against this.
    Older versions create an anonymous map, which has no descriptor. Then mmap(2) with MAP_FIXED replaces the
    anonymous map by the file.

    Args:
        descriptor: An open file of at least `size` bytes. The caller may close the descriptor afterwards.
        size: Number of bytes to map, at least 1.
        writable: True for a map that can be changed. Changes never reach the file.

    Raises:
        OSError: The file cannot be mapped.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    if sys.version_info >= (3, 13):
        options: Any = {"trackfd": False}
        return memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=protection, **options))
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    flags = mmap.MAP_PRIVATE | _MAP_FIXED
    if _mmap()(address, size, protection, flags, descriptor, 0) == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "mmap")
    view = memoryview(room)
    return view if writable else view.toreadonly()


@functools.cache
def _mmap() -> Any:
    """Return the C function mmap(2). Cached, because opening the C library is slower than mapping a file."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    return function
