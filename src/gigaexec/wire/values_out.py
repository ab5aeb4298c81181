"""Encode a return value as bytes: inline if small, otherwise in a file.

    head | padding | buffer | padding | buffer ...        each buffer at a multiple of 64 bytes

The head is a pickle, or the MessagePack head of the data format (wire/data). The buffers are the contents of
large arrays. The head refers to the buffers by number. So the driver can map the file, and build arrays on
the map without a copy.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from os import close as _close, open as _open, unlink as _unlink, write as _write
from typing import Any, NamedTuple, Protocol

from gigaexec.calls import LimitHit, ValueLayout
from gigaexec.wire.buffers import SEPARATE_BUFFER_BYTES, map_privately, pickle_into, write_aligned
from gigaexec.wire.class_globals import WARNING_BYTES, warning_on_size
from gigaexec.wire.data.encoder import ValueNotDataError, encode_data, encode_leaf
from gigaexec.wire.data.format import LARGEST_MAX_COUNT, LEAF_TYPES
from gigaexec.wire.messages import MAX_INLINE_BYTES
from gigaexec.wire.rebuilding import NotRebuiltError as NotRebuiltError, rebuild

# Values up to this size are sent over the worker's socket. For a larger value, one write to a file and one
# mmap are cheaper than copying, and the value may be larger than the driver's memory.
INLINE_VALUE_BYTES = MAX_INLINE_BYTES

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

# Errors caused by the program's resource limits or open files, not by the disk.
_LIMITS_OF_THE_PROGRAM = {
    errno.EFBIG: "the value exceeds the maximum file size (RLIMIT_FSIZE)",
    errno.EMFILE: "no file descriptor was free when the program returned (RLIMIT_NOFILE)",
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SpillWriteError(Exception):
    """Writing the spill file failed. The message contains path, number of bytes written and reason."""


class SpillLimitError(Exception):
    """Writing the spill file failed because of a resource limit of the program, which the message names."""


class ValueTooLargeError(Exception):
    """The value is larger than `Limits.result_bytes`."""

    def __init__(self, hit: LimitHit) -> None:
        super().__init__(f"the return value is larger than the limit of {hit.limit:.0f} bytes")
        self.hit = hit


class ResultFile(Protocol):
    """A file for a large value."""

    @property
    def place(self) -> str:
        """Path for error messages: the path of the file, or of the folder if the file is unnamed."""
        ...

    def create(self) -> int:
        """Create the file and return a descriptor. Raises OSError."""
        ...

    def finish(self, descriptor: int) -> int | None:
        """Complete the file. Return a descriptor to send, or None if the driver knows the file's path."""
        ...

    def discard(self, descriptor: int) -> None:
        """Close the descriptor, and remove the file."""
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
    """An unnamed (unlinked) file. The kernel removes it when its last descriptor and last map are closed."""

    def __init__(self, folder: str) -> None:
        self.place = folder

    def create(self) -> int:
        try:
            return _open(self.place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # EISDIR: the kernel lacks O_TMPFILE. EOPNOTSUPP: the file system lacks O_TMPFILE, as some network
            # file systems do.
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
    """An encoded value.

    `inline` is the whole value as bytes, or None if the value is in a file. `descriptor` is the open file to
    send with the answer, or None if the driver knows the file's path. `warning` is a text for the driver to
    log, or "".
    """

    layout: ValueLayout
    inline: bytes | None = None
    descriptor: int | None = None
    warning: str = ""


def encode_value(value: Any, file: ResultFile, *, max_bytes: int | None = None) -> EncodedValue:
    """Encode a return value in the data format if the driver then gets an equal value, else pickle it.

    The driver decodes the data format without running code. So only a value that contains an instance of
    another class than the plain types, or an object twice, is pickled. See `encode_pickled`.

    Args:
        value: The return value of a call.
        file: File for a large value. The file is not created for a small value.
        max_bytes: Maximum size of the encoded value; None for no limit.

    Raises:
        BaseException: The exceptions of `encode_pickled`.
    """
    try:
        return _encode_as_data(value, file, max_bytes, is_exact=True, max_count=LARGEST_MAX_COUNT)
    except ValueNotDataError:
        pass  # not plain data
    return encode_pickled(value, file, max_bytes=max_bytes)


def encode_as_data(value: Any, file: ResultFile, *, max_bytes: int | None = None) -> EncodedValue:
    """Encode a return value in the data format, which the driver decodes without running code.

    Raises:
        ValueNotDataError: The data format cannot encode a part of the value. The message contains the place.
        BaseException: The exceptions of `encode_pickled`, except NotRebuiltError.
    """
    return _encode_as_data(value, file, max_bytes)


def encode_pickled(value: Any, file: ResultFile, *, max_bytes: int | None = None) -> EncodedValue:
    """Pickle a return value. Classes and functions of user code are pickled by value.

    The contents of large arrays are written after the pickle instead of into it. Then the value is rebuilt
    once, here in its own worker: what its classes do when they are rebuilt counts as part of the call.

    If this function raises, it removes the file first.

    Args:
        value: The return value of a call.
        file: File for a large value. The file is not created for a small value.
        max_bytes: Maximum size of the encoded value; None for no limit.

    Raises:
        SpillWriteError: The file could not be written.
        SpillLimitError: The file could not be written because of a resource limit of the program.
        ValueTooLargeError: The encoded value is larger than `max_bytes`.
        NotRebuiltError: The value cannot be rebuilt from its pickle.
        BaseException: An exception of pickling, or of a class that is pickled.
    """

    def write_head(sink: _SpillingSink) -> list[memoryview]:
        return pickle_into(sink, value, separate_bytes=SEPARATE_BUFFER_BYTES)

    encoded = _encode("pickle", write_head, file, max_bytes, check=rebuild)
    if encoded.layout.total_bytes > WARNING_BYTES:
        return encoded._replace(warning=warning_on_size(value))
    return encoded


def _encode_as_data(value: Any, file: ResultFile, max_bytes: int | None, **options: Any) -> EncodedValue:
    def write_head(sink: _SpillingSink) -> list[memoryview]:
        head = encode_leaf(value) if type(value) in LEAF_TYPES else None
        if head is not None:
            sink.write(head)
            return []
        encoded = encode_data(value, is_paged=True, **options)
        sink.write(encoded.head)
        return encoded.buffers

    return _encode("data", write_head, file, max_bytes)


def _encode(
    name: str,
    write_head: Callable[[_SpillingSink], list[memoryview]],
    file: ResultFile,
    max_bytes: int | None,
    check: Callable[[memoryview, list[memoryview]], None] | None = None,
) -> EncodedValue:
    """Encode a value. `check` gets the written head and the buffers, and raises to refuse the value."""
    sink = _SpillingSink(file, max_bytes)
    try:
        buffers = write_head(sink)
        head_bytes = sink.total_bytes
        spans = write_aligned(sink.write, head_bytes, buffers)[0] if buffers else ()
        if check is not None:
            check(sink.written(head_bytes), buffers)
        return sink.finish(ValueLayout(name, head_bytes, spans, sink.total_bytes))
    except BaseException:
        sink.discard()
        raise


class _SpillingSink:
    """A writer that keeps a small value in memory, and moves a value that grows too large to a file."""

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

    def written(self, size: int) -> memoryview:
        """Return the first `size` bytes that were written. Raises SpillWriteError."""
        if self._descriptor is None:
            return memoryview(bytes(self._inline))[:size]
        try:
            return map_privately(self._descriptor, size, writable=False)
        except OSError as error:
            raise SpillWriteError(
                f"the result in {self._file.place} cannot be mapped: {error.strerror}"
            ) from error

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
            return SpillLimitError(f"{limit}; {self._written_bytes} bytes were written")
        advice = " Free space there, or set another spill_dir." if error.errno in _NO_SPACE else ""
        return SpillWriteError(
            f"the result could not be written to {self._file.place}: {error.strerror}; "
            f"{self._written_bytes} bytes were written.{advice}"
        )

    def _write_all(self, view: memoryview) -> None:
        while view:
            assert self._descriptor is not None
            written = _write(self._descriptor, view)
            self._written_bytes += written
            view = view[written:]
