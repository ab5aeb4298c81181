"""The worker's end of the socket to the driver. Reads and writes whole frames, and blocks.

A call consists of two frames: the `CallHeader`, then the arguments. With one frame, large arguments would
have to be copied into the header. The descriptors of the arguments' files arrive with the first byte.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Sequence
from pickle import loads as _loads

from gigaexec.wire.arguments_in import load_decoder
from gigaexec.wire.descriptors import receive_with_descriptors, send_with_descriptors
from gigaexec.wire.messages import LENGTH_PREFIX, CallHeader, ReceivedCall, frame_prefix

# Methods of the C class, bound at import: programs replace methods of the class in `socket`.
_sendall, _recv_into = _socket.socket.sendall, _socket.socket.recv_into


class WorkerChannel:
    """The worker's end of the socket to the driver. All methods block."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._descriptors: list[int] = []

    def receive_settings(self) -> object:
        """Wait for the pickled settings of a reused worker. Return None if the driver closed the channel."""
        settings = self._receive_frame()
        return None if settings is None else _loads(settings)

    def receive(self) -> ReceivedCall | None:
        """Wait for a call. Return None if the driver closed the channel."""
        header = self._receive_frame()
        if header is None:
            return None
        arguments = self._receive_frame()
        if arguments is None:
            return None
        call = _loads(header)
        assert isinstance(call, CallHeader)
        load_decoder(call.arguments)
        descriptors, self._descriptors = self._descriptors, []
        return ReceivedCall(call, arguments, descriptors)

    def send(self, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one frame. Raises OSError if the channel is closed."""
        frame = memoryview(frame_prefix(len(payload)) + payload)
        if descriptors:
            frame = frame[send_with_descriptors(self._connection, [frame], descriptors) :]
        _sendall(self._connection, frame)

    def _receive_frame(self) -> bytearray | None:
        prefix = self._receive_exactly(LENGTH_PREFIX.size)
        return None if prefix is None else self._receive_exactly(LENGTH_PREFIX.unpack(prefix)[0])

    def _receive_exactly(self, count: int) -> bytearray | None:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            received = self._receive_into(view)
            if received == 0:
                return None
            view = view[received:]
        return data

    def _receive_into(self, view: memoryview) -> int:
        # Descriptors arrive only with the length prefix of a call's first frame, so a longer read gets none.
        if len(view) > LENGTH_PREFIX.size:
            return _recv_into(self._connection, view)
        data, descriptors = receive_with_descriptors(self._connection, len(view))
        self._descriptors += descriptors
        view[: len(data)] = data
        return len(data)
