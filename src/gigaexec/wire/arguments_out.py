"""Encode args and kwargs as one pickle, with memfds for large and shared arguments.

    args, kwargs --pickle--> bytes, on the worker's socket
                   |  large arrays --> one memfd of the call ------> descriptor --> mapped copy-on-write
                   '  SharedArgument -> one memfd of the argument --> descriptor --> mapped read-only

A memfd is sealed after writing. Then no process can change or truncate the file, so maps of the file are safe
in every process. macOS has no memfds: there, unnamed files on disk are used, which cannot be sealed.
"""

from __future__ import annotations

import fcntl
import functools
import io
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

from gigaexec.calls import ValueLayout, WorkerCall
from gigaexec.errors import InfrastructureError, InvalidCallError
from gigaexec.wire.arguments_in import load_shared
from gigaexec.wire.buffers import SEPARATE_BUFFER_BYTES, pickle_into, write_aligned
from gigaexec.wire.descriptors import MAX_DESCRIPTORS, OwnedDescriptor
from gigaexec.wire.messages import ArgumentMap

logger = logging.getLogger(__name__)

# Arrays of at least this size go into a memfd. For a smaller array, a copy through the socket is cheaper than
# a file, a map and page faults.
_OWN_FILE_BYTES = 1024 * 1024

# From linux/fcntl.h. Python's fcntl module has these constants only if Python's C library has them.
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE


class SharedArgument:
    """An argument for many calls, created by a backend's method `share`. Pickled and written only once.

    Use a SharedArgument anywhere in the arguments: `args=[share]`, `kwargs={"data": [share, 1]}`. The
    function gets the value itself. Arrays of 64 KiB or more in the value are read-only in the workers, and
    all calls use the same copy. Each call gets a new copy of the rest of the value.

    The memory is freed when no reference to the SharedArgument is left. A submitted call keeps a reference
    until the call ends.
    """

    def __init__(self, value: object) -> None:
        """Pickle the value into a memfd.

        Raises:
            InvalidCallError: The value cannot be pickled.
            InfrastructureError: The memfd cannot be created, because no descriptor or no memory is free.
        """
        try:
            head, buffers = _pickle(value, SEPARATE_BUFFER_BYTES)
        except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
            kind = type(value).__name__
            raise InvalidCallError(
                f"the value of type {kind} cannot be pickled: {type(error).__name__}: {error}"
            ) from error
        self._file, self._map = _write_file(head, buffers, is_shared=True)

    @property
    def size_bytes(self) -> int:
        """Size of the single copy of the value, bytes."""
        return self._map.total_bytes

    def __repr__(self) -> str:
        return f"<SharedArgument of {self.size_bytes} bytes>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        encoding = getattr(_encodings, "current", None)
        if encoding is None:
            raise TypeError(
                "a SharedArgument can be pickled only as an argument: pass it in the args or kwargs of a "
                "WorkerCall, in the process that created it"
            )
        return load_shared, (encoding.number_of(self),)


@dataclass(frozen=True, slots=True)
class EncodedArguments:
    """The encoded arguments of a call.

    Args:
        contents: The pickle of `(args, kwargs)`, or bytes that another machine encoded.
        maps: Layouts of the memfds that the pickle refers to.
        files: The memfds, in the order of `maps`.
        shared_inodes: Inodes of the memfds of shared arguments.
        shared_bytes: Total size of the memfds of shared arguments.
        layout: Layout of `contents` if another machine encoded the arguments; None if `contents` is one
            pickle.
    """

    contents: bytes | memoryview = field(repr=False)
    maps: tuple[ArgumentMap, ...] = ()
    files: tuple[OwnedDescriptor, ...] = ()
    shared_inodes: frozenset[int] = frozenset()
    shared_bytes: int = 0
    layout: ValueLayout | None = None

    @property
    def own_bytes(self) -> int:
        """Total size of the memfds that belong to this call alone."""
        return sum(layout.total_bytes for layout in self.maps if not layout.is_shared)


class _Encoding:
    """The shared arguments that were found while the arguments of one call were pickled."""

    def __init__(self) -> None:
        self.shares: list[SharedArgument] = []

    def number_of(self, share: SharedArgument) -> int:
        if share not in self.shares:
            self.shares.append(share)
        return self.shares.index(share)


_encodings = threading.local()


def encode_arguments(call: WorkerCall) -> EncodedArguments:
    """Pickle a call's args and kwargs. Classes and functions of `__main__` are pickled by value.

    Raises:
        InvalidCallError: An argument cannot be pickled (the message names it), or the call has too many
            shared arguments.
    """
    with _encoding() as encoding:
        try:
            pickled, buffers = _pickle((call.args, call.kwargs), _OWN_FILE_BYTES)
        except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
            raise InvalidCallError(_name_culprit(call, error)) from error
    shares = encoding.shares
    if not shares and not buffers:
        return EncodedArguments(pickled)
    if len(shares) > MAX_DESCRIPTORS - 1:
        raise InvalidCallError(
            f"the call has {len(shares)} shared arguments; the limit is {MAX_DESCRIPTORS - 1}. "
            "Share several values as one list or dict."
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


# A waiting call with a large argument keeps one memfd open. When this number of memfds is open, further large
# arguments are copied into the pickle. Otherwise a long queue would use up the descriptors.
_MOST_OWN_FILES = 64
_own_files: weakref.WeakSet[OwnedDescriptor] = weakref.WeakSet()


def _own_file(buffers: list[memoryview]) -> tuple[OwnedDescriptor, ArgumentMap] | None:
    """Write the large buffers of a call to a memfd. Return None if too many are open, or creation fails."""
    if len(_own_files) >= _MOST_OWN_FILES:
        return None
    try:
        file, layout = _write_file(b"", buffers, is_shared=False)
    except InfrastructureError as error:
        logger.debug("%s; copying the arguments into the pickle instead", error)
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
        pickled, _ = _pickle((call.args, call.kwargs), None)
    return EncodedArguments(pickled, tuple(maps), tuple(files), inodes, shared_bytes)


@contextmanager
def _encoding() -> Iterator[_Encoding]:
    outer = getattr(_encodings, "current", None)
    _encodings.current = encoding = _Encoding()
    try:
        yield encoding
    finally:
        _encodings.current = outer


def _pickle(value: object, separate_bytes: int | None) -> tuple[bytes, list[memoryview]]:
    sink = io.BytesIO()
    buffers = pickle_into(sink, value, separate_bytes=separate_bytes)
    return sink.getvalue(), buffers


def _write_file(
    head: bytes, buffers: Iterable[memoryview], *, is_shared: bool
) -> tuple[OwnedDescriptor, ArgumentMap]:
    try:
        file = _new_file()
        _write(file, head)
        spans, end = write_aligned(functools.partial(_write, file), len(head), buffers)
        _seal(file)
    except OSError as error:
        raise InfrastructureError(f"the shared memory for arguments cannot be created: {error}") from error
    return file, ArgumentMap(len(head), spans, end, is_shared)


def _new_file() -> OwnedDescriptor:
    if hasattr(os, "memfd_create"):
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        return OwnedDescriptor(os.memfd_create("gigaexec-arguments", flags))
    with tempfile.TemporaryFile() as file:  # macOS: a file on disk, which cannot be sealed
        return OwnedDescriptor(os.dup(file.fileno()))


def _write(file: OwnedDescriptor, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(file.number, view) :]


def _seal(file: OwnedDescriptor) -> None:
    if hasattr(os, "memfd_create"):
        fcntl.fcntl(file.number, _F_ADD_SEALS, _ALL_SEALS)


def _name_culprit(call: WorkerCall, error: Exception) -> str:
    named = [(f"args[{index}]", value) for index, value in enumerate(call.args)]
    named += [(f"kwargs[{name!r}]", value) for name, value in call.kwargs.items()]
    for name, value in named:
        try:
            with _encoding():
                _pickle(value, _OWN_FILE_BYTES)
        except Exception as cause:  # noqa: BLE001 - pickling runs code of the value's class
            kind = type(value).__name__
            return f"{name} of type {kind} cannot be pickled: {type(cause).__name__}: {cause}"
    return f"the arguments cannot be pickled together: {type(error).__name__}: {error}"
