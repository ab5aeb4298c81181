"""Maps of files that keep no descriptor."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from typing import Any

_FAILED = ctypes.c_void_p(-1).value


def map_privately(descriptor: int, size: int, *, writable: bool = True) -> memoryview:
    """Map a file copy-on-write.

    Until Python 3.13, which can do without, `mmap.mmap` keeps a duplicate of the descriptor for as long as
    the map lives: a thousand arrays that somebody keeps would be all descriptors of the process. So the file
    is mapped over an anonymous map, which has none.

    Args:
        descriptor: An open file of at least that size. It may be closed afterwards.
        size: Bytes to map, at least 1.
        writable: Whether the map can be changed; the file never is.

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
    """The C function. Found once: a library object, with its symbols, takes longer than a map."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    return function


_MAP_FIXED = 0x10  # linux/mman.h, and sys/mman.h of macOS: replace what is mapped there
