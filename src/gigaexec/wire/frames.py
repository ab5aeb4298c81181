"""Frames on a stream socket: a length of eight bytes, big-endian, then that many bytes."""

from __future__ import annotations

import struct

LENGTH_PREFIX = struct.Struct("!Q")


MAX_REPLY_BYTES = 4 * 2**20
"""A larger frame from a worker is an error: inline values and error texts are bounded below this."""


class ProtocolError(Exception):
    """The other side sent bytes that the protocol does not allow."""


def frame_prefix(payload_bytes: int) -> bytes:
    """Return the length prefix of a frame."""
    return LENGTH_PREFIX.pack(payload_bytes)


class FrameDecoder:
    """Cuts a stream of bytes into frames, for a reader that must not block."""

    def __init__(self, max_frame_bytes: int = MAX_REPLY_BYTES) -> None:
        self._buffer = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Append received bytes and return the frames that are now complete.

        Raises:
            ProtocolError: A frame declares a length above the limit.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= LENGTH_PREFIX.size:
            (length,) = LENGTH_PREFIX.unpack_from(self._buffer)
            if length > self._max_frame_bytes:
                raise ProtocolError(f"a frame of {length} bytes; the limit is {self._max_frame_bytes}")
            end = LENGTH_PREFIX.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[LENGTH_PREFIX.size : end]))
            del self._buffer[:end]
        return frames
