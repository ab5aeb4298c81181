"""Arguments on their way to a worker: one pickle, and files for what is large or shared.

    args, kwargs --pickle--> bytes, on the worker's socket
                   |  large arrays --> a memory file of the call --> descriptor --> mapped copy-on-write
                   '  SharedArgument -> its own memory file --------> descriptor --> mapped read-only

A memory file is sealed: once written nobody can change or cut it, so that every process can rely on its map.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pickle
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, SupportsIndex

import cloudpickle

from gigaexec.calls import WorkerCall
from gigaexec.errors import InfrastructureError, InvalidCallError
from gigaexec.wire.arguments_in import load_shared
from gigaexec.wire.descriptors import MAX_DESCRIPTORS, OwnedDescriptor
from gigaexec.wire.messages import ArgumentMap

logger = logging.getLogger(__name__)

# Below this a copy through the socket is cheaper than a file, a map and its page faults.
_OWN_FILE_BYTES = 1024 * 1024
_SEPARATE_BUFFER_BYTES = 64 * 1024
_ALIGNMENT = 64

# linux/fcntl.h; in Python's fcntl module only where the C library of its build knew them.
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE


class SharedArgument:
    """A value that many calls get as an argument, pickled and written once. Made by a backend's `share`.

    Use it wherever an argument may stand: `args=[share]`, `kwargs={"data": [share, 1]}`. The function gets
    the value itself. Arrays of 64 KiB or more in it are read-only there and cost no memory beyond the one
    copy; the rest is a fresh copy for each call.

    It lives as long as you refer to it; calls that were submitted go on with it all the same.
    """

    def __init__(self, value: object) -> None:
        """Pickle the value into a file in memory.

        Raises:
            InvalidCallError: It cannot be pickled.
            InfrastructureError: The file cannot be made: no descriptor or no memory is free.
        """
        buffers: list[memoryview] = []
        try:
            head = _pickle(value, buffers, _SEPARATE_BUFFER_BYTES)
        except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
            kind = type(value).__name__
            raise InvalidCallError(
                f"the value of type {kind} cannot be pickled: {type(error).__name__}: {error}"
            ) from error
        self._file, self._map = _write_file(head, buffers, is_shared=True)

    @property
    def size_bytes(self) -> int:
        """How much memory its one copy takes up."""
        return self._map.total_bytes

    def __repr__(self) -> str:
        return f"<SharedArgument of {self.size_bytes} bytes>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        encoding = getattr(_encodings, "current", None)
        if encoding is None:
            raise TypeError("a SharedArgument can be sent only as an argument of a call of this process")
        return load_shared, (encoding.number_of(self),)


@dataclass(frozen=True, slots=True)
class EncodedArguments:
    """A call's arguments.

    Args:
        pickled: The pickle of `(args, kwargs)`.
        maps: What it refers to.
        files: The files behind `maps`, in the same order.
        shared_inodes: Inodes of the files whose memory is not the call's.
        shared_bytes: Their size in all.
    """

    pickled: bytes
    maps: tuple[ArgumentMap, ...] = ()
    files: tuple[OwnedDescriptor, ...] = ()
    shared_inodes: frozenset[int] = frozenset()
    shared_bytes: int = 0

    @property
    def own_bytes(self) -> int:
        """Size of the files that belong to the call alone."""
        return sum(layout.total_bytes for layout in self.maps if not layout.is_shared)


class _Encoding:
    """One call's arguments while they are pickled."""

    def __init__(self) -> None:
        self.shares: list[SharedArgument] = []

    def number_of(self, share: SharedArgument) -> int:
        if share not in self.shares:
            self.shares.append(share)
        return self.shares.index(share)


_encodings = threading.local()


def encode_arguments(call: WorkerCall) -> EncodedArguments:
    """Pickle a call's args and kwargs; classes and functions of `__main__` go by value.

    Raises:
        InvalidCallError: An argument cannot be pickled. The message names it.
        InfrastructureError: A large argument found no memory.
    """
    buffers: list[memoryview] = []
    with _encoding() as encoding:
        try:
            pickled = _pickle((call.args, call.kwargs), buffers, _OWN_FILE_BYTES)
        except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
            raise InvalidCallError(_name_culprit(call, error)) from error
    shares = encoding.shares
    if not shares and not buffers:
        return EncodedArguments(pickled)
    if len(shares) > MAX_DESCRIPTORS - 1:
        raise InvalidCallError(
            f"the call has {len(shares)} shared arguments; at most {MAX_DESCRIPTORS - 1} can be sent. "
            "Share them together, in a list or a dict."
        )
    maps = [share._map for share in shares]
    files = [share._file for share in shares]
    inodes = frozenset(os.fstat(file.number).st_ino for file in files)
    shared_bytes = sum(share.size_bytes for share in shares)
    if buffers:
        own = _own_file(buffers)
        if own is None:
            return _encode_in_one(call, maps, files, inodes, shared_bytes)
        files.append(own[0])
        maps.append(own[1])
    return EncodedArguments(pickled, tuple(maps), tuple(files), inodes, shared_bytes)


# Each waiting call with a large argument holds one. Beyond these, large arguments are copied into the pickle:
# descriptors are few, and a queue may be long.
_MOST_OWN_FILES = 64
_own_files: weakref.WeakSet[OwnedDescriptor] = weakref.WeakSet()


def _own_file(buffers: list[memoryview]) -> tuple[OwnedDescriptor, ArgumentMap] | None:
    """A file for a call's own buffers; None where descriptors are short."""
    if len(_own_files) >= _MOST_OWN_FILES:
        return None
    try:
        file, layout = _write_file(b"", buffers, is_shared=False)
    except InfrastructureError as error:
        logger.debug("%s; the arguments are sent in one piece", error)
        return None
    _own_files.add(file)
    return file, layout


def _encode_in_one(
    call: WorkerCall,
    maps: list[ArgumentMap],
    files: list[OwnedDescriptor],
    inodes: frozenset[int],
    shared_bytes: int,
) -> EncodedArguments:
    with _encoding():
        pickled = _pickle((call.args, call.kwargs), [], None)
    return EncodedArguments(pickled, tuple(maps), tuple(files), inodes, shared_bytes)


@contextmanager
def _encoding() -> Iterator[_Encoding]:
    outer = getattr(_encodings, "current", None)
    _encodings.current = encoding = _Encoding()
    try:
        yield encoding
    finally:
        _encodings.current = outer


def _pickle(value: object, buffers: list[memoryview], separate_bytes: int | None) -> bytes:
    """Pickle a value; the contents of arrays from `separate_bytes` on go to `buffers`. None: none do."""

    def take(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; true leaves it in."""
        raw = buffer.raw()
        if separate_bytes is None or raw.nbytes < separate_bytes:
            return True
        buffers.append(raw)
        return False

    sink = io.BytesIO()
    callback = take if separate_bytes is not None else None
    cloudpickle.CloudPickler(sink, protocol=5, buffer_callback=callback).dump(value)
    return sink.getvalue()


def _write_file(
    head: bytes, buffers: Sequence[memoryview], *, is_shared: bool
) -> tuple[OwnedDescriptor, ArgumentMap]:
    try:
        file = _new_file()
        spans = []
        end = _write(file, 0, head)
        for buffer in buffers:
            start = end + -end % _ALIGNMENT
            end = _write(file, start, buffer)
            spans.append((start, buffer.nbytes))
        _seal(file)
    except OSError as error:
        raise InfrastructureError(f"no file in memory can be made for arguments: {error}") from error
    return file, ArgumentMap(len(head), tuple(spans), end, is_shared)


def _new_file() -> OwnedDescriptor:
    if hasattr(os, "memfd_create"):
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        return OwnedDescriptor(os.memfd_create("gigaexec-arguments", flags))
    with tempfile.TemporaryFile() as file:  # macOS: on a disk, and without seals
        return OwnedDescriptor(os.dup(file.fileno()))


def _write(file: OwnedDescriptor, offset: int, data: bytes | memoryview) -> int:
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(file.number, view, offset)
        offset += written
        view = view[written:]
    return offset


def _seal(file: OwnedDescriptor) -> None:
    if hasattr(os, "memfd_create"):
        fcntl.fcntl(file.number, _F_ADD_SEALS, _ALL_SEALS)


def _name_culprit(call: WorkerCall, error: Exception) -> str:
    named = [(f"args[{index}]", value) for index, value in enumerate(call.args)]
    named += [(f"kwargs[{name!r}]", value) for name, value in call.kwargs.items()]
    for name, value in named:
        try:
            with _encoding():
                _pickle(value, [], _OWN_FILE_BYTES)
        except Exception as cause:  # noqa: BLE001 - pickling runs code of the value
            kind = type(value).__name__
            return f"{name} of type {kind} cannot be pickled: {type(cause).__name__}: {cause}"
    return f"the arguments cannot be pickled together: {type(error).__name__}: {error}"
