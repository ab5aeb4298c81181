"""A return value as bytes: inline when small, in a spill file when not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from cloudpickle import CloudPickler as _CloudPickler

# Up to this size a value travels on the worker's socket; beyond it, one write to a file and one mmap are
# cheaper than the copies, and the driver's memory no longer bounds the result.
INLINE_VALUE_BYTES = 64 * 1024


class SpillWriteError(Exception):
    """The spill file could not be written; the message says where, how far and why."""


@dataclass(frozen=True, slots=True)
class EncodedValue:
    """A pickle: its bytes, or None and how many bytes are in the spill file."""

    inline: bytes | None
    spilled_bytes: int = 0


def encode_value(value: Any, spill_path: str) -> EncodedValue:
    """Pickle `value`, classes and functions of user code by value.

    Returns:
        The pickle. Where it is too large for inline, the file `spill_path` was made and holds it.

    Raises:
        SpillWriteError: The file could not be written. It is gone.
        BaseException: Whatever pickling raises. The file is gone.
    """
    sink = _SpillingSink(spill_path)
    try:
        _CloudPickler(sink, protocol=5).dump(value)
    except BaseException:
        sink.discard()
        raise
    return sink.finish()


class _SpillingSink:
    """A file object that keeps the first bytes in memory and goes to a file when they grow too many."""

    def __init__(self, spill_path: str) -> None:
        self._spill_path = spill_path
        self._inline = bytearray()
        self._descriptor: int | None = None
        self._written_bytes = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self._descriptor is None and len(self._inline) + len(view) <= INLINE_VALUE_BYTES:
            self._inline += view
        else:
            self._spill(view)
        return len(view)

    def finish(self) -> EncodedValue:
        if self._descriptor is None:
            return EncodedValue(bytes(self._inline))
        os.close(self._descriptor)
        return EncodedValue(None, self._written_bytes)

    def discard(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            os.unlink(self._spill_path)

    def _spill(self, view: memoryview) -> None:
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self._spill_path, flags, 0o600)
                self._write_all(memoryview(self._inline))
                self._inline = bytearray()
            self._write_all(view)
        except OSError as error:
            raise SpillWriteError(
                f"the result could not be written to {self._spill_path}: {error.strerror} "
                f"after {self._written_bytes} bytes. Free space there, or set another spill_dir."
            ) from error

    def _write_all(self, view: memoryview) -> None:
        while view:
            assert self._descriptor is not None
            written = os.write(self._descriptor, view)
            self._written_bytes += written
            view = view[written:]
