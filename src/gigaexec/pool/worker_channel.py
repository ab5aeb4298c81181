"""The driver's end of a worker's channel: sends a call, and receives messages with their descriptors."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Sequence

from gigaexec.pool.jobs import Job
from gigaexec.pool.worker_process import SupervisedProcess
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.descriptors import (
    DescriptorsLostError,
    OwnedDescriptor,
    TooManyDescriptorsError,
    receive_with_descriptors,
    send_with_descriptors,
)
from gigaexec.wire.messages import FrameDecoder, Message, decode_message

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024

# Most bytes of a call that are sent in one turn. A worker may read as fast as the call is sent. Other calls,
# and the event loop that submits the call, then wait for one turn, and not for the whole call.
_TURN_BYTES = 1024 * 1024

# Maximum number of descriptors with one message: 2 with a forked worker's first message, 1 with an answer.
_MAX_DESCRIPTORS_OF_MESSAGE = 2


class WorkerChannel:
    """The driver's end of a worker's channel. Never blocks.

    Used on the dispatcher's thread. `send` is also used on submitting threads, under the pool's lock.

    Args:
        connection: The socket of the channel. The creator of this object closes the socket.
        worker_id: The worker's id, for log messages.
    """

    def __init__(self, connection: socket.socket, worker_id: str) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._worker_id = worker_id
        self._decoder = FrameDecoder()
        self._files: list[OwnedDescriptor] = []
        self._outgoing: _OutgoingCall | None = None
        self._is_corrupt = False
        self.was_reset = False
        """True if the worker's end of the channel was closed with data unread."""
        self.is_waiting_to_send = False
        """True if a part of a call is unsent; call `send_more` when the socket is writable."""

    @property
    def number(self) -> int:
        """The socket's descriptor."""
        return self._connection.fileno()

    def read(self) -> bytes | None:
        """Read from the socket once.

        Returns:
            Bytes to pass to `messages`. b"" if the worker's end is closed. None if no data waits, or after
            `distrust`.

        Raises:
            DescriptorsLostError: Descriptors of a message were lost, because this process is out of
                descriptors.
            ProtocolError: The worker sent more descriptors than any message has.
        """
        if self._is_corrupt:
            return None
        try:
            data, descriptors = receive_with_descriptors(
                self._connection, _READ_BYTES, _MAX_DESCRIPTORS_OF_MESSAGE
            )
        except BlockingIOError:
            return None
        except ConnectionResetError:
            # Linux reports ECONNRESET instead of end of file if the other end was closed with data unread
            # (unix(7)).
            self.was_reset = True
            return b""
        except TooManyDescriptorsError as error:
            raise ProtocolError(str(error.strerror)) from error
        except DescriptorsLostError:
            raise
        except OSError as error:
            logger.debug("the channel of worker %s failed: %s", self._worker_id, error)
            return b""
        self._files += map(OwnedDescriptor, descriptors)
        return data

    def messages(self, data: bytes) -> Iterator[Message]:
        """Decode the messages that `data` completes.

        Raises:
            ProtocolError: A message is malformed, or has too many descriptors. A program may have sent the
                message.
        """
        if len(self._files) > _MAX_DESCRIPTORS_OF_MESSAGE:
            raise ProtocolError(
                f"expected at most {_MAX_DESCRIPTORS_OF_MESSAGE} descriptors with a message, "
                f"got {len(self._files)}"
            )
        for frame in self._decoder.feed(data):
            yield decode_message(frame)

    def take_files(self) -> list[OwnedDescriptor]:
        """Return the files that were received with the current message. The caller must close them."""
        files, self._files = self._files, []
        return files

    def distrust(self) -> None:
        """Read nothing more: the bytes after a bad or lost message may belong to that message."""
        self._is_corrupt = True
        for file in self.take_files():
            file.close()

    def send(self, job: Job) -> float | None:
        """Send the first part of a call. Returns and raises the same as `send_more`."""
        self._outgoing = _OutgoingCall(self._connection, job.frames, [file.number for file in job.files])
        return self.send_more()

    def send_more(self) -> float | None:
        """Send as much of the rest of the call as fits into the socket, but not much more than 1 MiB.

        Returns:
            If the whole call was sent, the time just before its last part was sent, on the monotonic clock.
            None if a part is left.

        Raises:
            OSError: The call cannot be sent.
        """
        outgoing = self._outgoing
        assert outgoing is not None
        self.is_waiting_to_send = not outgoing.send()
        if self.is_waiting_to_send:
            return None
        self._outgoing = None
        return outgoing.last_part_at

    def give_up_sending(self) -> bool:
        """Drop the call that cannot be sent. Returns True if not one byte of the call was sent."""
        outgoing, self._outgoing = self._outgoing, None
        self.is_waiting_to_send = False
        return outgoing is not None and outgoing.is_untouched

    def fetch_file(self, process: SupervisedProcess | None, number: int) -> OwnedDescriptor:
        """Open the file that a worker has open as descriptor `number`, and let the worker continue.

        Raises:
            ProtocolError: The file cannot be opened, or `process` is None: a reused worker must send a path
                instead of a descriptor number.
        """
        if process is None:
            raise ProtocolError("expected a result sent inline or as a path, got a descriptor number")
        try:
            file = process.open_file_of_worker(number)
            self._connection.shutdown(socket.SHUT_WR)  # end of file tells the worker to continue
        except OSError as error:
            raise ProtocolError(f"the file with the result cannot be opened: {error}") from error
        return file

    def close(self) -> None:
        """Close the received files that nobody took. The creator of this object closes the socket."""
        for file in self.take_files():
            file.close()


class _OutgoingCall:
    """Sends a call in parts, each as large as the socket accepts.

    Args:
        channel: The non-blocking socket to the worker.
        frames: The bytes of the call.
        descriptors: The descriptors to send with the first byte.
    """

    def __init__(
        self, channel: socket.socket, frames: Sequence[bytes | memoryview], descriptors: Sequence[int]
    ) -> None:
        self._channel = channel
        self._total_bytes = sum(map(len, frames))
        self._unsent = [memoryview(frame) for frame in frames]
        self._unsent_descriptors = list(descriptors)
        self.last_part_at = 0.0
        """The time just before the last part was sent, on the monotonic clock."""

    @property
    def is_untouched(self) -> bool:
        """True if not one byte of the call was sent."""
        return sum(map(len, self._unsent)) == self._total_bytes

    def send(self) -> bool:
        """Send the next part of the call.

        Returns:
            True if the whole call was sent. False if a part is left, because the socket is full, or because
            this turn is over. Call again when the socket is writable.

        Raises:
            OSError: The call cannot be sent.
        """
        left_in_turn = _TURN_BYTES
        while self._unsent:
            if left_in_turn <= 0:
                return False
            # The time is taken before the part is sent: the program may already run when this thread
            # continues.
            self.last_part_at = time.monotonic()
            try:
                sent = send_with_descriptors(self._channel, self._unsent, self._unsent_descriptors)
            except BlockingIOError:
                return False
            self._unsent_descriptors = []
            self._drop(sent)
            left_in_turn -= sent
        return True

    def _drop(self, count: int) -> None:
        while count:
            first = self._unsent[0]
            if count < len(first):
                self._unsent[0] = first[count:]
                return
            count -= len(first)
            self._unsent.pop(0)
