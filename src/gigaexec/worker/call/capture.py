"""File descriptors 0, 1 and 2 of a worker.

Descriptors 1 and 2 are pipes that the driver drains while the call runs. So the output of C code and child
processes is captured as well, a program never blocks on a full pipe for long, and output before a crash or a
kill is not lost. `sys.stdout` and `sys.stderr` are unbuffered for the same reason.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
from typing import Protocol


class Streams(Protocol):
    """The standard streams, as the runner of a call uses them."""

    def flush(self) -> None:
        """Write out Python's and C's buffers, so that the output precedes the call's result."""
        ...


class InheritedStreams:
    """The objects in `sys` for descriptors 0 to 2, made once in the template."""

    def __init__(self) -> None:
        _put_objects_in_place()
        self._libc = ctypes.CDLL(None)

    def attach(self, stdout_pipe: int, stderr_pipe: int) -> None:
        """In a forked process: point descriptors 1 and 2 at the pipes, then close the originals."""
        for pipe, target in ((stdout_pipe, 1), (stderr_pipe, 2)):
            os.dup2(pipe, target, inheritable=True)
            os.close(pipe)

    def flush(self) -> None:
        _flush(self._libc)


class StandardStreams:
    """Owns the standard descriptors of a reused worker, and restores them before each call."""

    def __init__(self, stdout_pipe: int, stderr_pipe: int) -> None:
        """Point 0 at /dev/null and 1 and 2 at the pipes."""
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # Duplicates, closed on exec: the program may close or redirect 0, 1 and 2.
        self._originals = (null, stdout_pipe, stderr_pipe)
        self._identities = tuple(map(_identity, self._originals))
        self._libc = ctypes.CDLL(None)
        for descriptor in self._originals:
            os.set_inheritable(descriptor, False)
        self.restore()

    def restore(self) -> None:
        """Restore descriptors 0 to 2 and their objects in `sys`."""
        if tuple(map(_identity, (0, 1, 2))) != self._identities:
            for target, original in enumerate(self._originals):
                os.dup2(original, target, inheritable=True)
        for pipe in self._originals[1:]:
            os.set_blocking(pipe, True)  # a non-blocking pipe loses output silently
        # New objects for every call, 8 us: a reconfigured stream cannot be recognised.
        _put_objects_in_place()

    def flush(self) -> None:
        _flush(self._libc)


def _put_objects_in_place() -> None:
    stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    stdout, stderr = _unbuffered(1, "strict"), _unbuffered(2, "backslashreplace")
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]


def _flush(libc: ctypes.CDLL) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the program may have put any object there, which may fail in any way
            continue
    libc.fflush(None)


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    except OSError:  # closed
        return (0, 0)
    return found.st_dev, found.st_ino


def _unbuffered(descriptor: int, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, write_through=True)
