"""Release the GIL while a thread decodes a large value, so that the event loop of the driver goes on.

A thread that waits for the GIL asks for it after 5 ms (`sys.getswitchinterval`), and gets it when the other
thread is between two steps in Python. So decoding is done in steps of about 1 ms, with a pause between two
steps.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

# A step takes about 1 ms.
_STEP_S = 0.001
# The kernel rounds this up to about 60 us: enough for the other thread to wake up and take the GIL.
_PAUSE_S = 1e-6

CHUNK_BYTES = 32 * 1024
"""Size of the chunks in which a pickle is read. Unpickling a chunk takes 1 to 2 ms at most."""


def new_pauses() -> Callable[[], None]:
    """Return a function that releases the GIL if 1 ms has passed since its last release."""
    next_s = time.perf_counter() + _STEP_S

    def pause() -> None:
        nonlocal next_s
        if time.perf_counter() >= next_s:
            time.sleep(_PAUSE_S)
            next_s = time.perf_counter() + _STEP_S

    return pause


class PausingReader:
    """A file for `pickle.load`, which gives a pickle in chunks, with pauses between them.

    `pickle.loads` of 100 MB would hold the GIL for a second.
    """

    def __init__(self, contents: memoryview) -> None:
        self._contents = contents
        self._position = 0
        self._pause = new_pauses()

    def peek(self, _: int) -> bytes:
        """Return the next chunk without reading it. The unpickler calls this before each read."""
        self._pause()
        return bytes(self._contents[self._position : self._position + CHUNK_BYTES])

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        start, self._position = self._position, min(self._position + size, len(self._contents))
        return bytes(self._contents[start : self._position])

    def readinto(self, target: memoryview | bytearray) -> int:
        """Fill `target` with the next bytes, in chunks. Return the number of bytes."""
        view, done = memoryview(target), 0
        while done < len(view) and (chunk := self.read(min(io.DEFAULT_BUFFER_SIZE * 128, len(view) - done))):
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
            self._pause()
        return done

    def readline(self) -> bytes:
        """Return the next bytes up to a newline. Only old protocols of pickle have lines."""
        rest = bytes(self._contents[self._position :])
        line, newline, _ = rest.partition(b"\n")
        return self.read(len(line) + len(newline))
