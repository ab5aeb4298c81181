"""Open files: descriptors that are closed once, and descriptors sent over sockets."""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
from collections.abc import Sequence


class OwnedDescriptor:
    """A file descriptor that is closed once: by `close`, or with the last reference to this object."""

    def __init__(self, number: int) -> None:
        self._number: int | None = number

    @property
    def number(self) -> int:
        """The descriptor. Must not be read after `close`."""
        assert self._number is not None, "the descriptor is closed"
        return self._number

    def release(self) -> int:
        """Return the descriptor; the caller closes it."""
        number, self._number = self.number, None
        return number

    def close(self) -> None:
        """Close the descriptor. Calling it twice is safe."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    __del__ = close


def open_file_of(pid: int, number: int) -> OwnedDescriptor:
    """Open for reading the regular file that another process has open as descriptor `number`. Linux only.

    Raises:
        OSError: The process or descriptor does not exist, or it may not be opened, or is not a regular file.
    """
    # With O_PATH first: opening a pipe can block, and opening a device can have side effects.
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
"""Linux sends at most 253 in one message (SCM_MAX_FD)."""


class DescriptorsLostError(OSError):
    """Descriptors arrived and were lost, because this process can open no more files."""


class TooManyDescriptorsError(OSError):
    """More descriptors were received than allowed."""


def send_with_descriptors(
    connection: socket.socket, parts: Sequence[memoryview | bytes], descriptors: Sequence[int]
) -> int:
    """Send as many bytes as the socket accepts, the descriptors with the first one. Return their number."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    return connection.sendmsg(parts, rights)


def receive_with_descriptors(
    connection: socket.socket, count: int, max_descriptors: int = MAX_DESCRIPTORS
) -> tuple[bytes, list[int]]:
    """Receive at most `count` bytes, and the descriptors sent with them as non-inheritable ones.

    Raises:
        DescriptorsLostError: This process is out of descriptors. The bytes and descriptors are lost.
        TooManyDescriptorsError: More than `max_descriptors` arrived. The bytes and descriptors are lost.
        OSError: From the socket.
    """
    # Not socket.recv_fds: until Python 3.12 it drops the flag, and the descriptors are inheritable.
    room = socket.CMSG_LEN(max_descriptors * 4)  # CMSG_SPACE would pad to room for one more descriptor
    data, ancillary, flags, _ = connection.recvmsg(count, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    if flags & socket.MSG_CTRUNC:
        for descriptor in received:
            os.close(descriptor)
        if len(received) >= max_descriptors:
            raise TooManyDescriptorsError(errno.EMSGSIZE, f"more than {max_descriptors} descriptors")
        raise DescriptorsLostError(errno.EMFILE, "no descriptor is free for those received")
    return data, received.tolist()
