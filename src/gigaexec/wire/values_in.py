"""Read and decode values in the driver."""

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
from gigaexec.untrusted.plain_values import exception_text
from gigaexec.wire.buffers import map_privately
from gigaexec.wire.data.decoder import HEAD, decode_data, decode_quickly
from gigaexec.wire.data.format import (
    DEFAULT_MAX_COUNT,
    LARGEST_MAX_COUNT,
    SINGLE_LEAF_OPS,
    BadDataError,
)
from gigaexec.wire.descriptors import OwnedDescriptor
from gigaexec.wire.gil_pauses import CHUNK_BYTES, PausingReader, new_pauses
from gigaexec.wire.messages import MAX_INLINE_BYTES

logger = logging.getLogger(__name__)


NOT_DECODED: Any = object()
"""Returned by `ValueBytes.decode_at_once` if decoding could take long."""

# An array of three (leaves, ops, raw bytes), whose first item is an array of one, in MessagePack.
_START_OF_SINGLE_LEAF = b"\x93\x91"


@dataclass(frozen=True, slots=True)
class ValueBytes:
    """The bytes of an encoded value, and the layout of the parts in these bytes.

    Args:
        layout: Offsets and sizes of the parts in `contents`.
        contents: All bytes of the value: in memory, or a map of a file.
        where: Subject of error messages, such as "the result".
    """

    layout: ValueLayout
    contents: bytes | bytearray | memoryview = field(repr=False)
    where: str = "the result"

    def is_allowed(self, expected: ResultFormat) -> bool:
        """True if the value has a format that the driver accepts. Where pickles are allowed, data is too."""
        allowed = ("data",) if expected is ResultFormat.DATA else ("data", "pickle")
        return self.layout.format in allowed

    @property
    def is_pickle(self) -> bool:
        """True if decoding can run code of the program."""
        return self.layout.format != "data"

    def decode_at_once(self) -> Any:
        """Return the value if decoding takes far less than 5 ms, else `NOT_DECODED`.

        Pickles are never decoded here, so this method runs no code of the program. An event loop may call it.
        """
        head = self.contents
        if self.layout.format != "data" or self.layout.buffers or len(head) > MAX_INLINE_BYTES:
            return NOT_DECODED
        if head[:2] == _START_OF_SINGLE_LEAF:
            # A single leaf, the most frequent value, needs none of the decoder's steps.
            try:
                leaves, ops, _ = HEAD.decode(head)
            except ValueError:  # msgspec.DecodeError, or a text that is not UTF-8
                return NOT_DECODED
            if ops == SINGLE_LEAF_OPS:
                return leaves[0]
        try:
            return decode_quickly(bytes(head))
        except BadDataError:
            return NOT_DECODED

    def decode(self, expected: ResultFormat) -> Any:
        """Decode the value. For a pickle, this can run any code, for any time.

        Args:
            expected: The format that the driver asked for. `DATA` refuses a pickle; `PICKLE` allows both.

        Raises:
            ValueNotReadableError: The value has another format, is not valid, or unpickling it raised an
                exception.
        """
        layout = self.layout
        if not self.is_allowed(expected):
            raise ValueNotReadableError(
                f"expected {self.where} in the format {str(expected)!r}, got {layout.format!r:.80}"
            )
        view = memoryview(self.contents)
        if view.readonly and layout.buffers:
            view = memoryview(bytearray(view))  # copied, so that arrays in the copy are writable
        head = view[: layout.head_bytes]
        buffers = [view[offset : offset + size] for offset, size in layout.buffers]
        if layout.format == "data":
            # The limit of items bounds the memory that a hostile program can take. Where pickles are allowed,
            # a pickle could take as much.
            most = DEFAULT_MAX_COUNT if expected is ResultFormat.DATA else LARGEST_MAX_COUNT
            return decode_data(head, buffers, max_count=most, what=self.where, pause=new_pauses())
        try:
            if len(head) <= CHUNK_BYTES:
                return pickle.loads(head, buffers=buffers)
            return pickle.load(PausingReader(head), buffers=buffers)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - code of the classes may raise even SystemExit
            failure = self._failure(error)
        # Raised here, so that the error does not keep the program's exception and its frames as a context.
        raise failure

    def _failure(self, error: BaseException) -> ValueNotReadableError:
        if isinstance(error, pickle.UnpicklingError | EOFError):
            what = f"{self.where} is truncated or damaged"
        else:
            what = "the return value cannot be unpickled in the driver"
        return ValueNotReadableError(f"{what}: {exception_text(error)}")


def read_value_file(
    file: OwnedDescriptor, layout: ValueLayout, *, is_exclusive: bool, must_be_written: bool
) -> ValueBytes:
    """Read a value from an unnamed (unlinked) file, and close the file.

    Args:
        file: The file, open for reading.
        layout: The layout of the value in the file.
        is_exclusive: True if no other process can have the file open. The file is then mapped copy-on-write,
            and arrays use the map without a copy. Otherwise the file is read into memory: another process
            could change a map after the check, or kill this process by truncating the file. The caller must
            know if the file is exclusive. A lease (`F_SETLEASE`) is no proof, because descriptors with
            O_PATH may exist, and can be reopened.
        must_be_written: True to refuse a file with holes. A hole costs the program no disk space, but costs
            this process memory. Workers write every byte. False for pickles: some file systems turn zeros
            into holes, and programs that return pickles are trusted.

    Raises:
        ValueNotReadableError: The file is not an unnamed regular file of this user, has the wrong size, has
            holes, cannot be read, or does not fit into memory. Workers never send such a file, but programs
            can.
    """
    try:
        problem = _problem_of(file.number, layout.total_bytes, may_have_name=False)
        if not problem and must_be_written and os.lseek(file.number, 0, os.SEEK_HOLE) != layout.total_bytes:
            problem = "has holes; expected a file with every byte written"
        if problem:
            raise ValueNotReadableError(f"the file with the result {problem}")
        return ValueBytes(
            layout, _contents(file.number, layout.total_bytes, map_privately if is_exclusive else None)
        )
    except OSError as error:  # the program can send a descriptor that cannot be read
        raise ValueNotReadableError(f"the file with the result cannot be read: {error}") from error
    finally:
        file.close()


def open_spilled_value(path: str) -> OwnedDescriptor:
    """Open the spill file of a result. Raises SpillError if it cannot be opened."""
    # O_NONBLOCK: opening a FIFO at this path must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return OwnedDescriptor(os.open(path, flags))
    except OSError as error:
        raise SpillError(f"the spill file {path} cannot be opened: {error.strerror}") from error


def read_spilled_value(file: OwnedDescriptor, layout: ValueLayout, path: str) -> ValueBytes:
    """Map a spill file, which contains a result, and close its descriptor.

    If the file system refuses mmap, the file is read instead. The returned bytes stay valid after the file is
    removed. A map for arrays is private, and keeps no descriptor. Another map keeps one descriptor open until
    the map is deleted.

    Args:
        file: The file, from `open_spilled_value`.
        layout: The layout of the value in the file.
        path: Path of the file, for error messages. The file may have been removed.

    Raises:
        SpillError: The file is not a regular file of this user, empty, or of the wrong size.
        ValueNotReadableError: The file does not fit into memory.
    """
    try:
        if problem := _problem_of(file.number, layout.total_bytes, may_have_name=True):
            raise SpillError(f"the spill file {path} {problem}")
        # Arrays use the map without a copy, so a map for arrays must be writable.
        map_file = map_privately if layout.buffers else _map_readable
        return ValueBytes(layout, _contents(file.number, layout.total_bytes, map_file), path)
    finally:
        file.close()


def _problem_of(descriptor: int, expected_bytes: int, *, may_have_name: bool) -> str:
    """Return the reason why the file cannot be from a worker; "" if no reason was found."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid != os.getuid():
        return f"belongs to uid {found.st_uid}; this process has uid {os.getuid()}"
    if found.st_nlink != 0 and not may_have_name:
        return "has a path, so other processes could change the file; expected an unlinked file"
    if found.st_size == 0:
        return "is empty"
    if found.st_size != expected_bytes:
        return f"has {found.st_size} bytes; the worker wrote {expected_bytes}"
    return ""


def _map_readable(descriptor: int, count: int) -> memoryview:
    # The kernel reserves no memory for a read-only map, so the map may be larger than the free memory.
    return memoryview(mmap.mmap(descriptor, count, access=mmap.ACCESS_READ))


def _contents(descriptor: int, count: int, map_file: Callable[[int, int], memoryview] | None) -> memoryview:
    if map_file is not None:
        try:
            return map_file(descriptor, count)
        # OSError: some network filesystems refuse mmap. ValueError: the file has shrunk since it was checked.
        except (OSError, ValueError) as error:
            logger.debug("the file with the result cannot be mapped (%s); reading the file instead", error)
    try:
        view, offset = memoryview(bytearray(count)), 0
    except MemoryError as error:
        raise ValueNotReadableError(f"not enough memory to read a result of {count} bytes") from error
    while offset < count:
        received = os.preadv(descriptor, [view[offset:]], offset)
        if received == 0:
            raise ValueNotReadableError(f"the file with the result ends after {offset} of {count} bytes")
        offset += received
    return view
