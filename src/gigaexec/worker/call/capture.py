"""The standard streams of a worker, from which the output of a call is captured.

Descriptors 1 and 2 are pipes that the driver drains while the call runs. So the output of C code and child
processes is captured as well, and a full pipe does not block a program for long. `sys.stdout` and
`sys.stderr` are unbuffered, so output before a crash or a kill is not lost.
"""

from __future__ import annotations

import ctypes
import io
import sys


class Streams:
    """Manages `sys.stdin`, `sys.stdout` and `sys.stderr`. `renew` replaces the interpreter's own objects."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)

    def renew(self) -> None:
        """Replace `sys.stdin`, `sys.stdout` and `sys.stderr` by new objects for descriptors 0, 1 and 2."""
        stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        stdout, stderr = _unbuffered(1, "strict"), _unbuffered(2, "backslashreplace")
        sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]  # typeshed declares __stdin__ final
        sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]  # as above
        sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]  # as above

    def flush(self) -> None:
        """Write out the buffers of Python and of the C library, so that output precedes the call's result."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # a program may have replaced the stream by an object that fails in any way
                continue
        self._libc.fflush(None)


def _unbuffered(descriptor: int, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)
