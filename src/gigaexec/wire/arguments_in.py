"""The pickle and the files that the driver sent -> args and kwargs.

Large arrays are in files whose descriptors come with the call, and are mapped instead of copied: a file of
this call alone copy-on-write, a file that calls share read-only.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from gigaexec.wire.buffers import map_privately
from gigaexec.wire.messages import ArgumentMap, ReceivedCall

_files: list[_Mapped] = []


def load_arguments(received: ReceivedCall) -> tuple[list[Any], dict[str, Any]]:
    """Unpickle a call's args and kwargs. The descriptors are closed on return.

    Raises:
        BaseException: Anything that the arguments' classes raise.
    """
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
