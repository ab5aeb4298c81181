"""A return value as bytes: inline when small, in a file when not.

    head | padding | buffer | padding | buffer ...        each buffer at a multiple of 64 bytes

The head is a pickle (or data); the buffers are the contents of large arrays, which it refers to by number. So
the driver can map the file and build arrays on it without a copy.
"""

from __future__ import annotations

import errno
import os
import pickle
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from os import close as _close, open as _open, unlink as _unlink, write as _write
from pickle import dumps as _dumps
from typing import Any, Protocol

from cloudpickle import CloudPickler as _CloudPickler

from gigaexec.calls import LimitHit, ValueLayout
from gigaexec.wire.messages import MAX_INLINE_BYTES

# Up to this size a value travels on the worker's socket; beyond it, one write to a file and one mmap are
# cheaper than the copies, and the driver's memory no longer bounds the result.
INLINE_VALUE_BYTES = MAX_INLINE_BYTES

# A buffer of this size is worth a place of its own in the file.
_SEPARATE_BUFFER_BYTES = 64 * 1024

# What vector instructions like, and no less than any dtype's alignment.
_ALIGNMENT = 64

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

# What a program brings about by its resource limits and open files, whatever the state of the disk.
_LIMITS_OF_THE_PROGRAM = {
    errno.EFBIG: "it is larger than files may be (RLIMIT_FSIZE)",
    errno.EMFILE: "no file descriptor was free when the program returned (RLIMIT_NOFILE)",
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SpillWriteError(Exception):
    """The spill file could not be written; the message says where, how far and why."""


class SpillLimitError(Exception):
    """The program's own limits or open files forbid to write the spill file; the message says which."""


class ValueTooLargeError(Exception):
    """The value is larger than `Limits.result_bytes`."""

    def __init__(self, hit: LimitHit) -> None:
        super().__init__(f"the return value is larger than the limit of {hit.limit:.0f} bytes")
        self.hit = hit


class ResultFile(Protocol):
    """Where a large value goes."""

    @property
    def place(self) -> str:
        """For messages."""
        ...

    def create(self) -> int:
        """Make the file and return a descriptor. Raises OSError."""
        ...

    def finish(self, descriptor: int) -> int | None:
        """The file is complete. Returns the descriptor to send to the driver, None where it has the name."""
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
    """A file without a name in a folder: it is gone when the last descriptor and map of it are."""

    def __init__(self, folder: str) -> None:
        self.place = folder

    def create(self) -> int:
        try:
            return _open(self.place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # EISDIR: a kernel that knows no O_TMPFILE; EOPNOTSUPP: some network filesystems.
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


@dataclass(frozen=True, slots=True)
class EncodedValue:
    """An encoded value: its bytes, or None where they are in the file. `descriptor` is to be sent along."""

    layout: ValueLayout
    inline: bytes | None = None
    descriptor: int | None = None


def encode_pickled(
    value: Any, file: ResultFile, *, max_bytes: int | None = None, with_buffers: bool = False
) -> EncodedValue:
    """Pickle `value`, classes and functions of user code by value.

    Args:
        value: What to encode.
        file: Where to put it when it is large. It is there on return only if it was used.
        max_bytes: Its greatest size; None is no limit.
        with_buffers: Put the contents of large arrays beside the pickle.

    Raises:
        SpillWriteError: The file could not be written. It is gone.
        SpillLimitError: The same, by what the program itself did.
        ValueTooLargeError: It is larger than `max_bytes`.
        BaseException: Whatever pickling raises. The file is gone.
    """
    if type(value) in _SCALARS:
        # A sixth of the time of the way below, most of it that of making a pickler that nothing here needs.
        return _encode("pickle", lambda sink: _write_plainly(value, sink), file, max_bytes)
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; true leaves it in."""
        raw = buffer.raw()
        if raw.nbytes < _SEPARATE_BUFFER_BYTES:
            return True
        buffers.append(raw)
        return False

    def write_head(sink: _SpillingSink) -> list[memoryview]:
        _CloudPickler(sink, protocol=5, buffer_callback=take if with_buffers else None).dump(value)
        return buffers

    return _encode("pickle", write_head, file, max_bytes)


_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})


def _write_plainly(value: Any, sink: _SpillingSink) -> list[memoryview]:
    sink.write(_dumps(value, protocol=5))
    return []


def encode_as_data(value: Any, file: ResultFile, *, max_bytes: int | None = None) -> EncodedValue:
    """Encode `value` as plain data, which the driver can read without running anything.

    Raises:
        ValueNotDataError: It holds something else; the message says where.
        BaseException: As `encode_pickled`.
    """
    # Only where programs are confined; it costs 20 ms of import, which the template process pays once.
    from gigaexec.wire.data.encoder import encode_data

    def write_head(sink: _SpillingSink) -> list[Any]:
        encoded = encode_data(value)
        sink.write(encoded.head)
        return list(encoded.buffers)

    return _encode("data", write_head, file, max_bytes)


def _encode(
    name: str, write_head: Callable[[_SpillingSink], list[Any]], file: ResultFile, max_bytes: int | None
) -> EncodedValue:
    sink = _SpillingSink(file, max_bytes)
    try:
        buffers = write_head(sink)
        head_bytes = sink.total_bytes
        spans = []
        for buffer in buffers:
            sink.write(bytes(-sink.total_bytes % _ALIGNMENT))
            spans.append((sink.total_bytes, memoryview(buffer).nbytes))
            sink.write(buffer)
        return sink.finish(ValueLayout(name, head_bytes, tuple(spans), sink.total_bytes))
    except BaseException:
        sink.discard()
        raise


class _SpillingSink:
    """A file object that keeps the first bytes in memory and goes to a file when they grow too many."""

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
