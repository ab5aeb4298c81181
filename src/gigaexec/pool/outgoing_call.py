"""A call that is being sent to a worker."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from gigaexec.wire.descriptors import send_with_descriptors


class OutgoingCall:
    """Sends a call in as many parts as the socket takes.

    Args:
        channel: The worker's socket, not blocking.
        frames: The bytes of the call.
        descriptors: Sent with the first byte.
    """

    def __init__(self, channel: socket.socket, frames: Sequence[bytes], descriptors: Sequence[int]) -> None:
        self._channel = channel
        self._total_bytes = sum(map(len, frames))
        self._unsent = [memoryview(frame) for frame in frames]
        self._unsent_descriptors = list(descriptors)
        self.last_part_at = 0.0
        """When sending the last part began, on the monotonic clock."""

    @property
    def is_untouched(self) -> bool:
        """True if not one byte was sent."""
        return sum(map(len, self._unsent)) == self._total_bytes

    def send(self) -> None:
        """Send the rest.

        Raises:
            BlockingIOError: The socket is full; call again when it is writable.
            OSError: The call cannot be sent.
        """
        while self._unsent:
            # Before the part is sent: the program may be running by the time this thread runs again.
            self.last_part_at = time.monotonic()
            sent = send_with_descriptors(self._channel, self._unsent, self._unsent_descriptors)
            self._unsent_descriptors = []
            self._drop(sent)

    def _drop(self, count: int) -> None:
        while count:
            first = self._unsent[0]
            if count < len(first):
                self._unsent[0] = first[count:]
                return
            count -= len(first)
            self._unsent.pop(0)
