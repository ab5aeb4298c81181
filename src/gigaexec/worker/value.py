"""A return value as bytes: inline when small, in a spill file when not."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from os import close as _close, open as _open, unlink as _unlink, write as _write
from typing import Any

from cloudpickle import CloudPickler as _CloudPickler

# Up to this size a value travels on the worker's socket; beyond it, one write to a file and one mmap are
# cheaper than the copies, and the driver's memory no longer bounds the result.
INLINE_VALUE_BYTES = 64 * 1024


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW

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
        SpillLimitError: The same, by what the program itself did.
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
        _close(self._descriptor)
        return EncodedValue(None, self._written_bytes)

    def discard(self) -> None:
        if self._descriptor is not None:
            _close(self._descriptor)
            _unlink(self._spill_path)

    def _spill(self, view: memoryview) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = _open(self._spill_path, _NEW_FILE, 0o600)
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
            f"the result could not be written to {self._spill_path}: {error.strerror} "
            f"after {self._written_bytes} bytes.{advice}"
        )

    def _write_all(self, view: memoryview) -> None:
        while view:
            assert self._descriptor is not None
            written = _write(self._descriptor, view)
            self._written_bytes += written
            view = view[written:]
