"""Decode args and kwargs from the bytes and the files that the driver sent.

A driver on this machine puts large arrays into files, and sends the descriptors with the call. The files are
mapped instead of copied: copy-on-write if a file belongs to one call, read-only if calls share the file.

Arguments that another machine encoded are one block of bytes: a head, then the contents of arrays. The head
is a pickle, or the head of the data format.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from gigaexec.calls import ValueLayout
from gigaexec.wire.buffers import map_privately
from gigaexec.wire.messages import ArgumentMap, ReceivedCall

_files: list[_Mapped] = []


def load_arguments(received: ReceivedCall) -> tuple[list[Any], dict[str, Any]]:
    """Decode a call's args and kwargs, and close the received descriptors.

    The received bytes are freed, unless arrays use the bytes as memory.

    Raises:
        ValueNotReadableError: The arguments are not valid in the data format.
        BaseException: An exception of unpickling, or of a class that is unpickled.
    """
    if received.header.arguments is not None:
        return _decode(received.arguments, received.header.arguments)
    try:
        _files[:] = [
            _Mapped(layout, descriptor)
            for layout, descriptor in zip(received.header.maps, received.descriptors, strict=True)
        ]
    finally:
        for descriptor in received.descriptors:
            os.close(descriptor)
    try:
        own = [buffer for file in _files if not file.is_shared for buffer in file.buffers]
        args, kwargs = pickle.loads(received.arguments, buffers=own)
    finally:
        _files.clear()
    received.arguments.clear()
    return args, kwargs


def load_decoder(arguments: ValueLayout | None) -> None:
    """Import the decoder of the data format if the arguments need it.

    Call this before the call's python_path is in `sys.path`. Otherwise the decoder could import a `uuid.py`
    of the program instead of the standard library's.
    """
    if arguments is not None and arguments.format == "data":
        import gigaexec.wire.data.decoder  # noqa: F401 - loaded before the call starts


def _decode(contents: bytearray, layout: ValueLayout) -> tuple[list[Any], dict[str, Any]]:
    view = memoryview(contents)
    head = view[: layout.head_bytes]
    buffers = [view[offset : offset + size] for offset, size in layout.buffers]
    if layout.format == "data":
        from gigaexec.wire.data.decoder import decode_data

        args, kwargs = decode_data(head, buffers, what="the arguments")
    else:
        args, kwargs = pickle.loads(head, buffers=buffers)
    del view, head, buffers
    try:
        contents.clear()
    except BufferError:
        pass  # arrays use the bytes as memory and keep the bytes alive
    return args, kwargs


def load_shared(number: int) -> Any:
    """Unpickle the shared argument `number`. Unpickling a call's arguments calls this function."""
    return _files[number].value()


class _Mapped:
    def __init__(self, layout: ArgumentMap, descriptor: int) -> None:
        self.is_shared = layout.is_shared
        # MAP_PRIVATE for shared files too: before Linux 6.7, MAP_SHARED fails for a write-sealed file.
        view = map_privately(descriptor, layout.total_bytes, writable=not layout.is_shared)
        self._head = view[: layout.head_bytes]
        self.buffers = [view[offset : offset + size] for offset, size in layout.buffers]

    def value(self) -> Any:
        return pickle.loads(self._head, buffers=self.buffers)
