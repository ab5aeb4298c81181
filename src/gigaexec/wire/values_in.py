"""Encoded values -> values, in the driver."""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gigaexec.calls import ValueLayout
from gigaexec.errors import SpillError, ValueNotReadableError
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.buffers import map_privately
from gigaexec.wire.descriptors import OwnedDescriptor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ValueBytes:
    """An encoded value: its bytes, and the layout of its parts in them.

    Args:
        layout: The layout. Its parts are inside `contents`.
        contents: All bytes of the value, in memory or in a private map of a file without a name.
        where: A name of the bytes, for messages.
    """

    layout: ValueLayout
    contents: bytes | bytearray | memoryview = field(repr=False)
    where: str = "the result"

    def decode(self, expected: ResultFormat) -> Any:
        """Decode the value.

        Args:
            expected: The format that was asked for. No other is read, whatever the worker declares.

        Raises:
            ValueNotReadableError: The bytes are not valid in this format, or unpickling them raised.
        """
        layout = self.layout
        if layout.format != expected:
            raise ValueNotReadableError(
                f"{self.where} has the format {layout.format!r}; {str(expected)!r} was asked for"
            )
        view = memoryview(self.contents)
        if view.readonly and (layout.buffers or expected is ResultFormat.DATA):
            view = memoryview(bytearray(view))  # a copy, so that arrays on it are writable
        head = view[: layout.head_bytes]
        buffers = [view[offset : offset + size] for offset, size in layout.buffers]
        if expected is ResultFormat.DATA:
            from gigaexec.wire.data.decoder import decode_data

            return decode_data(head, buffers)
        try:
            return pickle.loads(head, buffers=buffers)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # the value's classes run here and may raise anything, SystemExit too
            if isinstance(error, pickle.UnpicklingError | EOFError):
                what = f"{self.where} is truncated or damaged"
            else:
                what = "the return value cannot be unpickled in the driver"
            raise ValueNotReadableError(f"{what}: {type(error).__name__}: {error}") from error


def read_value_file(
    file: OwnedDescriptor, layout: ValueLayout, *, is_exclusive: bool, must_be_written: bool
) -> ValueBytes:
    """Read a value from a file without a name. The file is closed on return.

    Args:
        file: Open for reading.
        layout: The layout of the value in it.
        is_exclusive: True if no other process can have the file open. Then it is mapped copy-on-write: arrays
            use the map without a copy, and it lives as long as they do. Otherwise the file is read into
            memory, so that the bytes that are checked are the bytes that are used: a process that has it open
            could change a map after the check, or kill this process by truncating the file. The kernel cannot
            tell whether it is exclusive: a lease (`F_SETLEASE`) is granted although descriptors made with
            O_PATH exist, and those can be reopened.
        must_be_written: True to refuse holes. A worker writes every byte. A hole costs the program nothing
            until it is read here. False for pickles: some file systems turn zeros into holes, and programs
            that return pickles are trusted.

    Raises:
        ValueNotReadableError: It is not a regular file of this user without a name, or not of the size that
            was declared, or has holes, or cannot be read, or there is no memory for it. Workers never send
            such a file, but programs can.
    """
    try:
        problem = _problem_of(file.number, layout.total_bytes, may_have_name=False)
        if not problem and must_be_written and os.lseek(file.number, 0, os.SEEK_HOLE) != layout.total_bytes:
            problem = "has holes"
        if problem:
            raise ValueNotReadableError(f"the file with the result {problem}")
        return ValueBytes(
            layout, _contents(file.number, layout.total_bytes, map_privately if is_exclusive else None)
        )
    except OSError as error:  # the program can send a descriptor that cannot be read
        raise ValueNotReadableError(f"the file with the result cannot be read: {error}") from error
    finally:
        file.close()


def read_spilled_value(path: str, layout: ValueLayout) -> ValueBytes:
    """Map a pickled result in a file with a name, or read it if the file system refuses mmap.

    The file is left where it is; the bytes stay valid after it is removed. A map keeps one descriptor open as
    long as it is used.

    Raises:
        SpillError: The file is missing, not a regular file of this user, empty or truncated.
        ValueNotReadableError: There is no memory for it.
    """
    # O_NONBLOCK: opening a FIFO at this path must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise SpillError(f"the spill file {path} cannot be opened: {error.strerror}") from error
    try:
        if problem := _problem_of(descriptor, layout.total_bytes, may_have_name=True):
            raise SpillError(f"the spill file {path} {problem}")
        return ValueBytes(layout, _contents(descriptor, layout.total_bytes, _map_readable), path)
    finally:
        os.close(descriptor)


def _problem_of(descriptor: int, expected_bytes: int, *, may_have_name: bool) -> str:
    """Return the reason why a file is not the one that a worker wrote, or ""."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid != os.getuid():
        return f"belongs to uid {found.st_uid}"
    if found.st_nlink != 0 and not may_have_name:
        return "has a name, by which other processes could change it"
    if found.st_size == 0:
        return "is empty"
    if found.st_size != expected_bytes:
        return f"holds {found.st_size} bytes; the worker wrote {expected_bytes}"
    return ""


def _map_readable(descriptor: int, count: int) -> memoryview:
    # The kernel reserves no memory for a read-only map, so it may be larger than the free memory.
    return memoryview(mmap.mmap(descriptor, count, access=mmap.ACCESS_READ))


def _contents(descriptor: int, count: int, map_file: Callable[[int, int], memoryview] | None) -> memoryview:
    if map_file is not None:
        try:
            return map_file(descriptor, count)
        except OSError as error:  # some network filesystems refuse
            logger.debug("mmap refused (%s); reading instead", error)
    try:
        view, offset = memoryview(bytearray(count)), 0
    except MemoryError as error:
        raise ValueNotReadableError(f"there is no memory for a result of {count} bytes") from error
    while offset < count:
        received = os.preadv(descriptor, [view[offset:]], offset)
        if received == 0:
            raise ValueNotReadableError(f"the file with the result ends at {offset} of {count} bytes")
        offset += received
    return view
