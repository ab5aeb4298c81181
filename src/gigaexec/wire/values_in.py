"""Encoded values -> values, in the driver."""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import stat
from typing import Any

from gigaexec.calls import ValueLayout
from gigaexec.errors import SpillError, ValueNotReadableError
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.buffers import map_privately
from gigaexec.wire.descriptors import OwnedDescriptor

logger = logging.getLogger(__name__)


def decode_value(
    contents: bytes | memoryview, layout: ValueLayout, expected: ResultFormat, *, where: str = "the result"
) -> Any:
    """Decode a value.

    Args:
        contents: All its bytes. Where they can be written to, so can the arrays that are built on them.
        layout: Where its parts lie.
        expected: The format that was asked for. No other is read, whatever the worker says.
        where: What `contents` are, for messages.

    Raises:
        ValueNotReadableError: They are nothing that this format allows, or unpickling them raised.
    """
    if layout.format != expected:
        raise ValueNotReadableError(
            f"{where} came as {layout.format!r} where {str(expected)!r} was asked for"
        )
    view = memoryview(contents)
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
            what = f"{where} is truncated or damaged"
        else:
            what = "the return value cannot be unpickled in the driver"
        raise ValueNotReadableError(f"{what}: {type(error).__name__}: {error}") from error


def read_value_file(
    file: OwnedDescriptor, layout: ValueLayout, expected: ResultFormat, *, is_exclusive: bool
) -> Any:
    """Decode a value from a file without a name. Closes the file.

    Args:
        file: Open for reading.
        layout: Where the parts of the value lie in it.
        expected: The format that was asked for.
        is_exclusive: Whether nobody else can have the file open. Then it is mapped copy-on-write: arrays lie
            in it without a copy, and the map lives as long as they do. Otherwise it is read into memory, and
            what is read is what is checked: whoever has it open could change a map after the check, or kill
            this process by cutting the file under it. That nobody has it open cannot be asked of the kernel:
            a lease (`F_SETLEASE`) is granted beside descriptors made with O_PATH, which can be opened anew.

    Raises:
        ValueNotReadableError: It is no regular file of this user without a name and without holes, or of
            another size than was said: no worker sends that, but its program can. Or there is no memory
            for it. Or as `decode_value`.
    """
    try:
        _check(file.number, layout.total_bytes, must_be_written=expected is ResultFormat.DATA)
        contents = (_mapped if is_exclusive else _read)(file.number, layout.total_bytes)
    except OSError as error:  # it can be sent a descriptor that cannot be read
        raise ValueNotReadableError(f"the file with the result cannot be read: {error}") from error
    finally:
        file.close()
    return decode_value(contents, layout, expected)


def _check(descriptor: int, expected_bytes: int, *, must_be_written: bool) -> None:
    found = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif found.st_uid != os.getuid():
        problem = f"belongs to uid {found.st_uid}"
    elif found.st_nlink != 0:
        problem = "has a name, by which others could change it"
    elif found.st_size != expected_bytes:
        problem = f"holds {found.st_size} bytes; the worker wrote {expected_bytes}"
    elif found.st_size == 0:
        problem = "is empty"
    elif must_be_written and os.lseek(descriptor, 0, os.SEEK_HOLE) != found.st_size:
        # Workers write every byte. What was not written costs nobody anything, until it is read here. Only
        # for data: some file systems make holes of zeros, and nobody sends pickles who means harm.
        problem = "has holes"
    if problem:
        raise ValueNotReadableError(f"the file with the result {problem}")


def _mapped(descriptor: int, count: int) -> memoryview:
    try:
        return map_privately(descriptor, count)
    except OSError as error:  # some network filesystems refuse
        logger.debug("mmap refused (%s); reading instead", error)
        return _read(descriptor, count)


def _read(descriptor: int, count: int) -> memoryview:
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


def read_spilled_value(path: str, layout: ValueLayout) -> Any:
    """Read a pickled result through mmap, or with a plain read where that is refused. The file is left.

    The value owns its memory: it stays valid when the file is gone.

    Raises:
        SpillError: The file is missing, no regular file of this user, empty or truncated.
        ValueNotReadableError: Unpickling it raised.
    """
    descriptor = _open_checked(path, layout.total_bytes)
    try:
        with _contents(descriptor, layout.total_bytes) as view:
            return decode_value(view, layout, ResultFormat.PICKLE, where=path)
    finally:
        os.close(descriptor)


def _open_checked(path: str, expected_bytes: int) -> int:
    # O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise SpillError(f"the spill file {path} cannot be opened: {error.strerror}") from error
    found = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif found.st_uid != os.getuid():
        problem = f"belongs to uid {found.st_uid}"
    elif found.st_size == 0:
        problem = "is empty"
    elif found.st_size != expected_bytes:
        problem = f"holds {found.st_size} bytes; the worker wrote {expected_bytes}"
    if problem:
        os.close(descriptor)
        raise SpillError(f"the spill file {path} {problem}")
    return descriptor


def _contents(descriptor: int, count: int) -> memoryview:
    try:
        return memoryview(mmap.mmap(descriptor, count, access=mmap.ACCESS_READ))
    except OSError as error:  # some network filesystems refuse
        logger.debug("mmap refused (%s); reading instead", error)
        with open(descriptor, "rb", closefd=False) as file:
            return memoryview(file.read())
