"""The head and tail of a stream of any length."""

from __future__ import annotations

from collections import deque


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
