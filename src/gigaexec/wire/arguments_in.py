"""A call's arguments, from what the driver sent: a pickle, and files that it refers to.

Large arrays lie in files whose descriptors come with the call, and are mapped rather than copied. A file of
the call alone is mapped copy-on-write; one that calls share is mapped read-only.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from gigaexec.wire.buffers import map_privately
from gigaexec.wire.messages import ArgumentMap, ReceivedCall

_files: list[_Mapped] = []


def load_arguments(received: ReceivedCall) -> tuple[list[Any], dict[str, Any]]:
    """Unpickle a call's args and kwargs. Raises whatever their classes raise; the descriptors are closed."""
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
    """Unpickle a shared argument. Pickled arguments call this where one stands."""
    return _files[number].value()


class _Mapped:
    def __init__(self, layout: ArgumentMap, descriptor: int) -> None:
        self.is_shared = layout.is_shared
        # Private in both cases: a file whose writing is sealed can be mapped shared only since Linux 6.7.
        view = map_privately(descriptor, layout.total_bytes, writable=not layout.is_shared)
        self._head = view[: layout.head_bytes]
        self.buffers = [view[offset : offset + size] for offset, size in layout.buffers]

    def value(self) -> Any:
        return pickle.loads(self._head, buffers=self.buffers)
