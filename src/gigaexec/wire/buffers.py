"""Large buffers: kept out of pickles, written aligned, and mapped without keeping a descriptor."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any

# Bound at import: programs replace `cloudpickle.CloudPickler` in their worker.
from cloudpickle import CloudPickler as _CloudPickler

SEPARATE_BUFFER_BYTES = 64 * 1024
"""Buffers of this size or more are written outside of the pickle."""

# A cache line. Vector instructions prefer it, and no dtype needs more.
_ALIGNMENT_BYTES = 64

_FAILED = ctypes.c_void_p(-1).value
_MAP_FIXED = 0x10  # linux/mman.h, and sys/mman.h of macOS: replace the existing map at that address


def pickle_into(sink: Any, value: object, *, separate_bytes: int | None = None) -> list[memoryview]:
    """Pickle a value with protocol 5; classes and functions of `__main__` and of the program go by value.

    Args:
        sink: Has `write`.
        value: The value.
        separate_bytes: Contents of arrays of this size or more are left out of the pickle; None leaves out
            none.

    Returns:
        The contents that were left out, in the order in which the pickle refers to them.

    Raises:
        BaseException: Anything that pickling raises.
    """
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Decide about a buffer. True keeps it in the pickle."""
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
        write: Appends bytes to the file.
        end: Its size so far.
        buffers: Contiguous buffers.

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

    Until Python 3.13, which has `trackfd=False`, `mmap.mmap` keeps a duplicate of the descriptor as long as
    the map lives, so a thousand arrays that a caller keeps would use up the descriptors of the process.
    There, mmap(2) maps the file over an anonymous map of Python, which has no descriptor.

    Args:
        descriptor: An open file of at least that size. It may be closed afterwards.
        size: Bytes to map, at least 1.
        writable: If True the map can be changed; the file never is.

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
    """Return mmap(2). Looked up once: opening the C library takes longer than mapping a file."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    return function
