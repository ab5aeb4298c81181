"""Frames on a stream socket: eight bytes of length, big-endian, then that many bytes.

A call is two frames, `CallHeader` and the pickled arguments: the second may be large and is never copied
into the first. What a worker sends is one frame each: `Ready` once, then a `WorkerResult` for each call.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from pickle import dumps as _dumps, loads as _loads

_LENGTH = struct.Struct("!Q")

MAX_REPLY_BYTES = 16 * 2**20
"""A larger frame from a worker is an error: inline values and error texts are bounded far below this."""


@dataclass(frozen=True, slots=True)
class CallHeader:
    """A call as the worker gets it; its arguments follow in a frame of their own."""

    code: str
    function_name: str
    python_path: list[str]
    env: dict[str, str | None]
    spill_path: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message. `problem` is "" or why it cannot serve, `warnings` is what to log."""

    pid: int
    problem: str = ""
    warnings: tuple[str, ...] = ()


class ProtocolError(Exception):
    """The other side sent what is no frame."""


def frame_prefix(payload_bytes: int) -> bytes:
    """Return the length prefix of a frame."""
    return _LENGTH.pack(payload_bytes)


class FrameDecoder:
    """Cuts a stream of bytes into frames, for a reader that must not block."""

    def __init__(self, max_frame_bytes: int = MAX_REPLY_BYTES) -> None:
        self._buffer = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read and return the frames that are now whole.

        Raises:
            ProtocolError: A frame claims to be larger than allowed.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._max_frame_bytes:
                raise ProtocolError(f"a frame of {length} bytes; the limit is {self._max_frame_bytes}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return frames


class WorkerChannel:
    """The worker's end: blocking reads and writes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def receive(self) -> tuple[CallHeader, bytearray] | None:
        """Wait for a call: its header and its pickled arguments. None when the driver closed the channel."""
        header = self._receive_frame()
        if header is None:
            return None
        arguments = self._receive_frame()
        if arguments is None:
            return None
        call = _loads(header)
        assert isinstance(call, CallHeader)
        return call, arguments

    def send(self, message: object) -> None:
        """Send one record. Raises OSError where the channel is gone."""
        payload = _dumps(message, protocol=5)
        self._connection.sendall(frame_prefix(len(payload)) + payload)

    def _receive_frame(self) -> bytearray | None:
        prefix = self._receive_exactly(_LENGTH.size)
        return None if prefix is None else self._receive_exactly(_LENGTH.unpack(prefix)[0])

    def _receive_exactly(self, count: int) -> bytearray | None:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            received = self._connection.recv_into(view)
            if received == 0:
                return None
            view = view[received:]
        return data
