"""An open file that must be closed by whoever ends up with it."""

from __future__ import annotations

import os


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
