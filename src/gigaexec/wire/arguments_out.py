"""args and kwargs -> one pickle, and memory files for large and shared arguments.

    args, kwargs --pickle--> bytes, on the worker's socket
                   |  large arrays --> a memory file of the call --> descriptor --> mapped copy-on-write
                   '  SharedArgument -> its own memory file --------> descriptor --> mapped read-only

A memory file is sealed after writing: no process can change or truncate it, so every process can rely on its
map.
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
from dataclasses import dataclass
from typing import Any, SupportsIndex

from gigaexec.calls import ValueLayout, WorkerCall
from gigaexec.errors import InfrastructureError, InvalidCallError
from gigaexec.wire.arguments_in import load_shared
from gigaexec.wire.buffers import SEPARATE_BUFFER_BYTES, pickle_into, write_aligned
from gigaexec.wire.descriptors import MAX_DESCRIPTORS, OwnedDescriptor
from gigaexec.wire.messages import ArgumentMap

logger = logging.getLogger(__name__)

# Below this a copy through the socket is cheaper than a file, a map and its page faults.
_OWN_FILE_BYTES = 1024 * 1024

# linux/fcntl.h; Python's fcntl module has them only if the C library of its build did.
_F_ADD_SEALS = 1033
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE


class SharedArgument:
    """A value that many calls get as an argument, pickled and written once. Returned by a backend's `share`.

    Use it anywhere in the arguments: `args=[share]`, `kwargs={"data": [share, 1]}`. The function gets the
    value itself. Arrays of 64 KiB or more in it are read-only there and share one copy; the rest is a fresh
    copy for each call.

    It lives as long as you refer to it. Submitted calls keep it alive until they end.
    """

    def __init__(self, value: object) -> None:
        """Pickle the value into a file in memory.

        Raises:
            InvalidCallError: The value cannot be pickled.
            InfrastructureError: The file cannot be created: no descriptor or no memory is free.
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
        """Size of its one copy, bytes."""
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
        contents: The pickle of `(args, kwargs)`, or bytes that another machine encoded.
        maps: Layouts of the files that the pickle refers to.
        files: The files, in the order of `maps`.
        shared_inodes: Inodes of the files that other calls share.
        shared_bytes: Their total size.
        layout: Layout of `contents` if another machine encoded them; None for one pickle.
    """

    contents: bytes | memoryview
    maps: tuple[ArgumentMap, ...] = ()
    files: tuple[OwnedDescriptor, ...] = ()
    shared_inodes: frozenset[int] = frozenset()
    shared_bytes: int = 0
    layout: ValueLayout | None = None

    @property
    def own_bytes(self) -> int:
        """Total size of the files that belong to this call alone."""
        return sum(layout.total_bytes for layout in self.maps if not layout.is_shared)


class _Encoding:
    """The shared arguments found while one call's arguments are pickled."""

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
        InfrastructureError: There is no memory for a large argument.
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


# Each waiting call with a large argument holds one file. Above this number of files, large arguments are
# copied into the pickle, because a long queue would use up the descriptors.
_MOST_OWN_FILES = 64
_own_files: weakref.WeakSet[OwnedDescriptor] = weakref.WeakSet()


def _own_file(buffers: list[memoryview]) -> tuple[OwnedDescriptor, ArgumentMap] | None:
    """Write a call's own buffers to a file. Return None if too many are open, or it cannot be created."""
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
        raise InfrastructureError(f"the memory file for arguments cannot be created: {error}") from error
    return file, ArgumentMap(len(head), spans, end, is_shared)


def _new_file() -> OwnedDescriptor:
    if hasattr(os, "memfd_create"):
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        return OwnedDescriptor(os.memfd_create("gigaexec-arguments", flags))
    with tempfile.TemporaryFile() as file:  # macOS: on disk, and without seals
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
        except Exception as cause:  # noqa: BLE001 - pickling runs code of the value
            kind = type(value).__name__
            return f"{name} of type {kind} cannot be pickled: {type(cause).__name__}: {cause}"
    return f"the arguments cannot be pickled together: {type(error).__name__}: {error}"
