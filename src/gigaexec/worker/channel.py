"""Frames on a stream socket: eight bytes of length, big-endian, then that many bytes.

A call is two frames, `CallHeader` and the pickled arguments: the second may be large and is never copied
into the first. Open files that the arguments refer to come as descriptors with the first byte. What a worker
sends is one frame each: `Ready` once, then a `WorkerResult` for each call; a result that is in a file without
a name comes with its descriptor. `messages` turns those records into bytes.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pickle import loads as _loads

from gigaexec.calls import ConfinementStep
from gigaexec.limits import Limits

_LENGTH = struct.Struct("!Q")

MAX_DESCRIPTORS = 250
"""Linux carries 253 in one message (SCM_MAX_FD)."""

MAX_REPLY_BYTES = 4 * 2**20
"""A larger frame from a worker is an error: inline values and error texts are bounded below this."""


@dataclass(frozen=True, slots=True)
class CallHeader:
    """A call as the worker gets it; its arguments follow in a frame of their own."""

    code: str
    function_name: str
    python_path: list[str]
    env: dict[str, str | None]
    spill_path: str
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    maps: tuple[ArgumentMap, ...] = ()


@dataclass(frozen=True, slots=True)
class ArgumentMap:
    """How the arguments refer to a file whose descriptor comes with the call.

    Args:
        head_bytes: Size of the pickle at its start.
        buffers: Offset and size of each buffer of the pickle.
        total_bytes: Size of the file.
        is_shared: Whether other calls map it, too. The one that is not holds the buffers of the arguments'
            own pickle.
    """

    head_bytes: int
    buffers: tuple[tuple[int, int], ...]
    total_bytes: int
    is_shared: bool


@dataclass(frozen=True, slots=True)
class Confined:
    """Sent by a confined worker before its program runs: what the sandbox consists of."""

    steps: tuple[ConfinementStep, ...]


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call as it came: `arguments` is the pickle, `descriptors` the open files it refers to."""

    header: CallHeader
    arguments: bytearray
    descriptors: list[int]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message.

    Args:
        problem: Why it cannot serve, else "".
        warnings: What to log.
        steps: The steps of isolation that were tried for it.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    steps: tuple[ConfinementStep, ...] = ()


class DescriptorsLostError(OSError):
    """Descriptors came, and this process may open no more files."""


class TooManyDescriptorsError(OSError):
    """More descriptors came than there may be."""


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
        self._descriptors: list[int] = []

    def receive(self) -> ReceivedCall | None:
        """Wait for a call. None when the driver closed the channel."""
        header = self._receive_frame()
        if header is None:
            return None
        arguments = self._receive_frame()
        if arguments is None:
            return None
        call = _loads(header)
        assert isinstance(call, CallHeader)
        descriptors, self._descriptors = self._descriptors, []
        return ReceivedCall(call, arguments, descriptors)

    def send(self, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one frame. Raises OSError where the channel is gone."""
        frame = memoryview(frame_prefix(len(payload)) + payload)
        if descriptors:
            frame = frame[send_with_descriptors(self._connection, [frame], descriptors) :]
        self._connection.sendall(frame)

    def _receive_frame(self) -> bytearray | None:
        prefix = self._receive_exactly(_LENGTH.size)
        return None if prefix is None else self._receive_exactly(_LENGTH.unpack(prefix)[0])

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
        # Descriptors come with the first byte of a call, so with the prefix of its first frame.
        if len(view) > _LENGTH.size:
            return self._connection.recv_into(view)
        data, descriptors = receive_with_descriptors(self._connection, len(view))
        self._descriptors += descriptors
        view[: len(data)] = data
        return len(data)


def send_with_descriptors(
    connection: socket.socket, parts: Sequence[memoryview | bytes], descriptors: Sequence[int]
) -> int:
    """Send what goes at once, the descriptors with its first byte. Returns how many bytes were sent."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    return connection.sendmsg(parts, rights)


def receive_with_descriptors(
    connection: socket.socket, count: int, max_descriptors: int = MAX_DESCRIPTORS
) -> tuple[bytes, list[int]]:
    """Receive at most `count` bytes and the descriptors that come with them, none of them inheritable.

    Raises:
        DescriptorsLostError: This process is out of descriptors. What was sent is lost.
        TooManyDescriptorsError: More than `max_descriptors` came. What was sent is lost.
        OSError: Whatever the socket raises.
    """
    # Not socket.recv_fds: until Python 3.12 it forgets the flag, and the descriptors are inheritable.
    room = socket.CMSG_LEN(max_descriptors * 4)  # not CMSG_SPACE: its padding has room for another one
    data, ancillary, flags, _ = connection.recvmsg(count, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    if flags & socket.MSG_CTRUNC:
        for descriptor in received:
            os.close(descriptor)
        if len(received) >= max_descriptors:
            raise TooManyDescriptorsError(errno.EMSGSIZE, f"more than {max_descriptors} descriptors came")
        raise DescriptorsLostError(errno.EMFILE, "no descriptor is free for those that were sent")
    return data, received.tolist()
