"""Open files: descriptors that close once, and descriptors that travel on a socket."""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
from collections.abc import Sequence


class OwnedDescriptor:
    """A file descriptor that is closed once: by `close`, or when nobody refers to it any more."""

    def __init__(self, number: int) -> None:
        self._number: int | None = number

    @property
    def number(self) -> int:
        """The descriptor. It must not be closed yet."""
        assert self._number is not None, "the descriptor is closed"
        return self._number

    def release(self) -> int:
        """Return the descriptor and leave its closing to the caller."""
        number, self._number = self.number, None
        return number

    def close(self) -> None:
        """Close it. Twice is safe."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)

    __del__ = close


def open_file_of(pid: int, number: int) -> OwnedDescriptor:
    """Open for reading the regular file that another process has open as descriptor `number`. Linux only.

    Raises:
        OSError: There is none, or it is not to be had.
    """
    # First without opening it: to open a pipe can block, to open a device can do anything.
    place = OwnedDescriptor(os.open(f"/proc/{pid}/fd/{number}", os.O_PATH | os.O_CLOEXEC))
    try:
        if not stat.S_ISREG(os.fstat(place.number).st_mode):
            raise PermissionError(f"descriptor {number} of process {pid} is no regular file")
        # Without O_NONBLOCK a lease of the other process holds this one for 45 s (fcntl(2), F_SETLEASE).
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        return OwnedDescriptor(os.open(f"/proc/self/fd/{place.number}", flags))
    finally:
        place.close()


MAX_DESCRIPTORS = 250
"""Linux carries 253 in one message (SCM_MAX_FD)."""


class DescriptorsLostError(OSError):
    """Descriptors came, and this process may open no more files."""


class TooManyDescriptorsError(OSError):
    """More descriptors came than there may be."""


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
