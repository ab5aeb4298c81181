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
    """What a worker writes for the current call. Used on the dispatcher's thread only.

    Args:
        stdout: The read end of its standard output, not blocking.
        stderr: That of its standard error.
        kept_bytes: How much of each to keep for a call.
    """

    def __init__(self, stdout: int, stderr: int, kept_bytes: int) -> None:
        self._stdout, self._stderr = stdout, stderr
        self._buffers = {stdout: HeadTailBuffer(kept_bytes), stderr: HeadTailBuffer(kept_bytes)}
        self.open = set(self._buffers)
        """Those that have not ended."""

    @property
    def total_bytes(self) -> int:
        """How much was written for the current call, as far as it was read."""
        return sum(buffer.total_bytes for buffer in self._buffers.values())

    def clear(self) -> None:
        """Drop what was read: another call begins."""
        for buffer in self._buffers.values():
            buffer.clear()

    def read(self, descriptor: int, count: int = _READ_BYTES) -> None:
        """Read at most `count` bytes of what waits in one of them, which leaves `open` at its end."""
        try:
            data = os.read(descriptor, count)
        except BlockingIOError:
            return
        if data:
            self._buffers[descriptor].write(data)
        else:
            self.open.discard(descriptor)

    def read_all(self) -> None:
        """Read what was written up to now.

        Not until they block: a thread that a program left behind may write faster than this reads.
        """
        for descriptor in tuple(self.open):
            if waiting := _waiting_bytes(descriptor):
                self.read(descriptor, waiting)

    def captured(self) -> CapturedOutput:
        """What was kept."""
        stdout, stderr = self._buffers[self._stdout], self._buffers[self._stderr]
        return CapturedOutput(stdout.text(), stderr.text(), stdout.total_bytes, stderr.total_bytes)


def _waiting_bytes(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count


class HeadTailBuffer:
    """Keeps the first eighth and the last seven eighths of `limit_bytes` of what is written to it.

    The beginning shows how a flood started, the end what came just before a failure.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._head_limit = limit_bytes // 8
        self._tail_limit = limit_bytes - self._head_limit
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        """Add bytes; what falls between head and tail is dropped at once."""
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
        """Forget everything."""
        self._head.clear()
        self._tail.clear()
        self._tail_bytes = 0
        self.total_bytes = 0

    def text(self) -> str:
        """What was kept as text, a line in the middle saying how much was not."""
        if not self.total_bytes:
            return ""
        tail = b"".join(self._tail)[-self._tail_limit :]
        left_out = self.total_bytes - len(self._head) - len(tail)
        if left_out == 0:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        head = self._head.decode("utf-8", "replace")
        return f"{head}\n... [{left_out} bytes left out] ...\n{tail.decode('utf-8', 'replace')}"
