"""Open files that must be closed by whoever ends up with them."""

from __future__ import annotations

import os
import stat


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
