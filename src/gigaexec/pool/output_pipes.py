"""The driver's ends of a worker's output pipes."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections import deque

from gigaexec.calls import CapturedOutput

_READ_BYTES = 256 * 1024


class OutputPipes:
    """Reads a worker's output pipes, and keeps the current call's output.

    Used on the dispatcher's thread. `clear` is also used on submitting threads, under the pool's lock.

    Args:
        stdout: Non-blocking read end of the pipe from the worker's standard output.
        stderr: Non-blocking read end of the pipe from the worker's standard error.
        kept_bytes: Maximum number of bytes to keep of each stream per call; see `HeadTailBuffer`.
    """

    def __init__(self, stdout: int, stderr: int, kept_bytes: int) -> None:
        self._stdout, self._stderr = stdout, stderr
        self._buffers = {stdout: HeadTailBuffer(kept_bytes), stderr: HeadTailBuffer(kept_bytes)}
        self.open = set(self._buffers)
        """Descriptors of the pipes that have not reached end of file."""

    @property
    def total_bytes(self) -> int:
        """Number of bytes read from the current call's output so far, including bytes that were not kept."""
        return sum(buffer.total_bytes for buffer in self._buffers.values())

    def clear(self) -> None:
        """Drop the output of the previous call."""
        for buffer in self._buffers.values():
            buffer.clear()

    def read(self, descriptor: int, count: int = _READ_BYTES) -> None:
        """Read at most `count` available bytes of a pipe. At end of file, the pipe is removed from `open`."""
        try:
            data = os.read(descriptor, count)
        except BlockingIOError:
            return
        if data:
            self._buffers[descriptor].write(data)
        else:
            self.open.discard(descriptor)

    def read_all(self) -> None:
        """Read the output that is in the pipes now.

        The number of bytes is determined first (FIONREAD). Reading until a pipe is empty might never end: a
        thread that the program left running may write faster than this thread reads.
        """
        for descriptor in tuple(self.open):
            if waiting := _waiting_bytes(descriptor):
                self.read(descriptor, waiting)

    def captured(self) -> CapturedOutput:
        """Return the kept output of the current call."""
        stdout, stderr = self._buffers[self._stdout], self._buffers[self._stderr]
        return CapturedOutput(stdout.text(), stderr.text(), stdout.total_bytes, stderr.total_bytes)


def _waiting_bytes(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count


class HeadTailBuffer:
    """Keeps the start and the end of a stream: the first 1/8 of `limit_bytes`, and the last 7/8.

    The start shows how a flood of output began. The end shows the last output before a failure.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._head_limit = limit_bytes // 8
        self._tail_limit = limit_bytes - self._head_limit
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        """Append bytes to the stream. Bytes that are in neither the start nor the end are dropped at once."""
        self.total_bytes += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_bytes += len(data)
            while self._tail_bytes - len(self._tail[0]) >= self._tail_limit:
                self._tail_bytes -= len(self._tail.popleft())

    def clear(self) -> None:
        """Drop all bytes, and set `total_bytes` to 0."""
        self._head.clear()
        self._tail.clear()
        self._tail_bytes = 0
        self.total_bytes = 0

    def text(self) -> str:
        """Return the kept bytes as text. A line in the middle says how many bytes were left out."""
        if not self.total_bytes:
            return ""
        tail = b"".join(self._tail)[-self._tail_limit :]
        left_out = self.total_bytes - len(self._head) - len(tail)
        if left_out == 0:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        head = self._head.decode("utf-8", "replace")
        return f"{head}\n... [{left_out} bytes left out] ...\n{tail.decode('utf-8', 'replace')}"
