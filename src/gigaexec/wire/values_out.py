"""A return value -> bytes: inline if small, otherwise in a file.

    head | padding | buffer | padding | buffer ...        each buffer at a multiple of 64 bytes

The head is a pickle or data; the buffers are the contents of large arrays, to which it refers by number. The
driver can therefore map the file and build arrays on it without a copy.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from os import close as _close, open as _open, unlink as _unlink, write as _write
from pickle import dumps as _dumps
from typing import Any, NamedTuple, Protocol

from gigaexec.calls import LimitHit, ValueLayout
from gigaexec.wire.buffers import SEPARATE_BUFFER_BYTES, pickle_into, write_aligned
from gigaexec.wire.messages import MAX_INLINE_BYTES

# Up to this size a value travels on the worker's socket. Above it one write to a file and one mmap are
# cheaper than the copies, and the driver's memory does not bound the result.
INLINE_VALUE_BYTES = MAX_INLINE_BYTES

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

# Errors that the program causes by its resource limits and open files, whatever the state of the disk.
_LIMITS_OF_THE_PROGRAM = {
    errno.EFBIG: "it is larger than files may be (RLIMIT_FSIZE)",
    errno.EMFILE: "no file descriptor was free when the program returned (RLIMIT_NOFILE)",
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SpillWriteError(Exception):
    """The spill file could not be written; the message names the place, the bytes written and the reason."""


class SpillLimitError(Exception):
    """The program's own limits or open files prevent writing the spill file; the message names which."""


class ValueTooLargeError(Exception):
    """The value is larger than `Limits.result_bytes`."""

    def __init__(self, hit: LimitHit) -> None:
        super().__init__(f"the return value is larger than the limit of {hit.limit:.0f} bytes")
        self.hit = hit


class ResultFile(Protocol):
    """A file for a large value."""

    @property
    def place(self) -> str:
        """The path of the file or its folder, for messages."""
        ...

    def create(self) -> int:
        """Create the file and return a descriptor. Raises OSError."""
        ...

    def finish(self, descriptor: int) -> int | None:
        """Complete the file. Return the descriptor to send to the driver, None if the driver has a name."""
        ...

    def discard(self, descriptor: int) -> None:
        """Remove the file."""
        ...


class NamedResultFile:
    """A file at a path that the driver chose."""

    def __init__(self, path: str) -> None:
        self.place = path

    def create(self) -> int:
        return _open(self.place, _NEW_FILE, 0o600)

    def finish(self, descriptor: int) -> None:
        _close(descriptor)

    def discard(self, descriptor: int) -> None:
        _close(descriptor)
        _unlink(self.place)


class UnnamedResultFile:
    """A file without a name in a folder. The kernel removes it with its last descriptor and map."""

    def __init__(self, folder: str) -> None:
        self.place = folder

    def create(self) -> int:
        try:
            return _open(self.place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # EISDIR: a kernel without O_TMPFILE; EOPNOTSUPP: some network filesystems.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        path = f"{self.place}/{uuid.uuid4().hex}.unnamed"
        descriptor = _open(path, _NEW_FILE, 0o600)
        _unlink(path)
        return descriptor

    def finish(self, descriptor: int) -> int:
        return descriptor

    def discard(self, descriptor: int) -> None:
        _close(descriptor)


class EncodedValue(NamedTuple):
    """An encoded value: its bytes, or None if they are in the file. `descriptor` is sent with the answer."""

    layout: ValueLayout
    inline: bytes | None = None
    descriptor: int | None = None


def encode_pickled(
    value: Any, file: ResultFile, *, max_bytes: int | None = None, with_buffers: bool = False
) -> EncodedValue:
    """Pickle `value`, classes and functions of user code by value.

    Args:
        value: The value.
        file: Takes the bytes of a large value. It exists on return only if it was used.
        max_bytes: Largest allowed size; None for no limit.
        with_buffers: Write the contents of large arrays after the pickle instead of into it.

    Raises:
        SpillWriteError: The file could not be written. It was removed.
        SpillLimitError: The file could not be written because of the program's own limits. It was removed.
        ValueTooLargeError: It is larger than `max_bytes`.
        BaseException: Anything that pickling raises. The file was removed.
    """
    if type(value) in _SCALARS:
        # Takes a sixth of the time of the code below, which mostly creates a pickler that scalars do not
        # need.
        return _encode("pickle", lambda sink: _write_plainly(value, sink), file, max_bytes)

    def write_head(sink: _SpillingSink) -> list[memoryview]:
        separate_bytes = SEPARATE_BUFFER_BYTES if with_buffers else None
        return pickle_into(sink, value, separate_bytes=separate_bytes)

    return _encode("pickle", write_head, file, max_bytes)


_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})


def _write_plainly(value: Any, sink: _SpillingSink) -> list[memoryview]:
    sink.write(_dumps(value, protocol=5))
    return []


def encode_as_data(value: Any, file: ResultFile, *, max_bytes: int | None = None) -> EncodedValue:
    """Encode `value` as plain data, which the driver can read without running code.

    Raises:
        ValueNotDataError: A part of the value is not data; the message names its place.
        BaseException: As `encode_pickled`.
    """
    # Imported only if programs are confined: the import takes 20 ms, once in the template process.
    from gigaexec.wire.data.encoder import encode_data

    def write_head(sink: _SpillingSink) -> list[memoryview]:
        encoded = encode_data(value)
        sink.write(encoded.head)
        return encoded.buffers

    return _encode("data", write_head, file, max_bytes)


def _encode(
    name: str,
    write_head: Callable[[_SpillingSink], list[memoryview]],
    file: ResultFile,
    max_bytes: int | None,
) -> EncodedValue:
    sink = _SpillingSink(file, max_bytes)
    try:
        buffers = write_head(sink)
        head_bytes = sink.total_bytes
        spans = write_aligned(sink.write, head_bytes, buffers)[0] if buffers else ()
        return sink.finish(ValueLayout(name, head_bytes, spans, sink.total_bytes))
    except BaseException:
        sink.discard()
        raise


class _SpillingSink:
    """A writer that keeps a small value in memory and moves it to a file once it grows too large."""

    def __init__(self, file: ResultFile, max_bytes: int | None) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._inline = bytearray()
        self._descriptor: int | None = None
        self._written_bytes = 0
        self.total_bytes = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.total_bytes += len(view)
        if self._max_bytes is not None and self.total_bytes > self._max_bytes:
            raise ValueTooLargeError(LimitHit("result_bytes", self._max_bytes, self.total_bytes))
        if self._descriptor is None and self.total_bytes <= INLINE_VALUE_BYTES:
            self._inline += view
        else:
            self._spill(view)
        return len(view)

    def finish(self, layout: ValueLayout) -> EncodedValue:
        if self._descriptor is None:
            return EncodedValue(layout, inline=bytes(self._inline))
        return EncodedValue(layout, descriptor=self._file.finish(self._descriptor))

    def discard(self) -> None:
        if self._descriptor is not None:
            self._file.discard(self._descriptor)

    def _spill(self, view: memoryview) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = self._file.create()
                self._write_all(memoryview(self._inline))
                self._inline = bytearray()
            self._write_all(view)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Exception:
        if limit := _LIMITS_OF_THE_PROGRAM.get(error.errno or 0):
            return SpillLimitError(f"{limit}, {self._written_bytes} bytes were written")
        advice = " Free space there, or set another spill_dir." if error.errno in _NO_SPACE else ""
        return SpillWriteError(
            f"the result could not be written to {self._file.place}: {error.strerror} "
            f"after {self._written_bytes} bytes.{advice}"
        )

    def _write_all(self, view: memoryview) -> None:
        while view:
            assert self._descriptor is not None
            written = _write(self._descriptor, view)
            self._written_bytes += written
            view = view[written:]
