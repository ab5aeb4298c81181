"""Owned file descriptors, and functions that send and receive descriptors over sockets."""

from __future__ import annotations

import _socket
import array
import errno
import os
import socket
import stat
from collections.abc import Sequence


class OwnedDescriptor:
    """A file descriptor that is closed exactly once: by `close`, or when this object is deleted."""

    def __init__(self, number: int) -> None:
        self._number: int | None = number

    @property
    def number(self) -> int:
        """The number of the descriptor. Must not be read after `close` or `release`."""
        assert self._number is not None, "the descriptor is closed"
        return self._number

    def release(self) -> int:
        """Return the descriptor and give up ownership: the caller must close the descriptor."""
        number, self._number = self.number, None
        return number

    def close(self) -> None:
        """Close the descriptor. Calling it twice is safe."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    __del__ = close


def open_file_of(pid: int, number: int) -> OwnedDescriptor:
    """Open the regular file behind descriptor `number` of another process, for reading. Linux only.

    Raises:
        OSError: The process or the descriptor does not exist, the file may not be opened, or it is not a
            regular file.
    """
    # O_PATH first, to check the type: opening a pipe can block, and opening a device can have side effects.
    place = OwnedDescriptor(os.open(f"/proc/{pid}/fd/{number}", os.O_PATH | os.O_CLOEXEC))
    try:
        if not stat.S_ISREG(os.fstat(place.number).st_mode):
            raise PermissionError(f"descriptor {number} of process {pid} is not a regular file")
        # Without O_NONBLOCK, a lease of the other process blocks open() for 45 s (fcntl(2), F_SETLEASE).
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return OwnedDescriptor(os.open(f"/proc/self/fd/{place.number}", flags))
    finally:
        place.close()


MAX_DESCRIPTORS = 250
"""Maximum number of descriptors in one message. Linux allows at most 253 (SCM_MAX_FD)."""


# Methods of the C class, bound at import: programs replace methods of the class in `socket`.
_sendmsg, _recvmsg = _socket.socket.sendmsg, _socket.socket.recvmsg


class DescriptorsLostError(OSError):
    """Received descriptors were lost, because this process cannot open more files."""


class TooManyDescriptorsError(OSError):
    """A message arrived with more descriptors than allowed."""


def send_with_descriptors(
    connection: socket.socket, parts: Sequence[memoryview | bytes], descriptors: Sequence[int]
) -> int:
    """Send as many bytes as the socket accepts, with descriptors. Return the number of bytes sent."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    return _sendmsg(connection, parts, rights)


def receive_with_descriptors(
    connection: socket.socket, count: int, max_descriptors: int = MAX_DESCRIPTORS
) -> tuple[bytes, list[int]]:
    """Receive at most `count` bytes, and the descriptors that were sent with these bytes.

    The received descriptors are not inheritable.

    Raises:
        DescriptorsLostError: This process is out of descriptors. The bytes and descriptors are lost.
        TooManyDescriptorsError: More than `max_descriptors` arrived. The bytes and descriptors are lost.
        OSError: The socket failed.
    """
    # Not socket.recv_fds(): in Python 3.11 it ignores its flags, so the descriptors would be inheritable.
    room = socket.CMSG_LEN(max_descriptors * 4)  # the padding of CMSG_SPACE could hold one more descriptor
    data, ancillary, flags, _ = _recvmsg(connection, count, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    if flags & socket.MSG_CTRUNC:
        for descriptor in received:
            os.close(descriptor)
        if len(received) >= max_descriptors:
            raise TooManyDescriptorsError(
                errno.EMSGSIZE, f"expected at most {max_descriptors} descriptors, got more"
            )
        raise DescriptorsLostError(errno.EMFILE, "no descriptor is free for a received file")
    return data, received.tolist()
