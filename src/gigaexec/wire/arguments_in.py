"""The bytes and the files that the driver sent -> args and kwargs.

Large arrays of a local driver are in files whose descriptors come with the call, and are mapped instead of
copied: a file of this call alone copy-on-write, a file that calls share read-only. Arguments that another
machine encoded are one piece of bytes, a pickle or data, with the contents of arrays behind it.
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
    """Decode a call's args and kwargs. On return the descriptors are closed, and the bytes are freed.

    Raises:
        BaseException: Anything that the arguments' classes raise; ValueNotReadableError for invalid data.
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
    """Import the decoder of data if the arguments need it.

    Called before the call's python_path is in `sys.path`: a program's `uuid.py` must not be imported instead
    of the standard library's.
    """
    if arguments is not None and arguments.format == "data":
        import gigaexec.wire.data.decoder  # noqa: F401


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
        pass  # arrays are built on the map and keep it alive
    return args, kwargs


def load_shared(number: int) -> Any:
    """Unpickle a shared argument. Pickled arguments call this function at its place."""
    return _files[number].value()


class _Mapped:
    def __init__(self, layout: ArgumentMap, descriptor: int) -> None:
        self.is_shared = layout.is_shared
        # Private in both cases: before Linux 6.7 a file sealed against writing cannot be mapped shared.
        view = map_privately(descriptor, layout.total_bytes, writable=not layout.is_shared)
        self._head = view[: layout.head_bytes]
        self.buffers = [view[offset : offset + size] for offset, size in layout.buffers]

    def value(self) -> Any:
        return pickle.loads(self._head, buffers=self.buffers)
