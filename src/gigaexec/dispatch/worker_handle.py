"""The driver's side of one worker process."""

from __future__ import annotations

import enum
import fcntl
import logging
import os
import pickle
import select
import selectors
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gigaexec.calls import CapturedOutput, WorkerResult
from gigaexec.config import WorkerConfig
from gigaexec.dispatch import process_tree
from gigaexec.dispatch.jobs import EndingKind, Job
from gigaexec.transport.output import HeadTailBuffer
from gigaexec.worker.channel import FrameDecoder, ProtocolError, Ready

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024

# A process that ends closes its channel a moment before its end can be seen. A worker whose channel closes
# and that lives longer than this has been robbed of it by its program.
_EXIT_GRACE_MS = 100


class WorkerProcess(Protocol):
    """A started process. Made by a backend, owned by a `WorkerHandle`."""

    @property
    def pid(self) -> int: ...

    def has_ended(self) -> bool:
        """Whether it is dead. For systems without pidfds; it may reap the process."""
        ...

    def exit_code(self) -> int | None:
        """Exit code of the ended process, or minus the signal's number. None: not to be known."""
        ...

    def forget_after_fork(self) -> None:
        """In a forked child: the process is the parent's."""
        ...

    def dispose(self) -> None:
        """Let go of what the driver holds for the ended process. May block."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerPipes:
    """The driver's ends. `lifeline` is never written: the worker dies when it closes."""

    channel: socket.socket
    lifeline: int
    stdout: int
    stderr: int

    def close(self) -> None:
        self.channel.close()
        for descriptor in (self.lifeline, self.stdout, self.stderr):
            os.close(descriptor)


class WorkerState(enum.Enum):
    STARTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    DYING = enum.auto()
    """Killed; its end is not confirmed yet."""


class WorkerHandle:
    """Owns one worker process and everything the driver holds for it. Used on the dispatcher's thread only.

    Args:
        worker_id: 12 hex digits.
        process: The started process.
        pipes: The driver's ends of its channels.
        selector: Where the handle registers its descriptors; the data of each key is a callback.
        output_limit_bytes: How much of each output stream to keep for a call.
        on_message: Called with the handle and each record that the worker sends.
        on_death: Called with the handle once the process is dead.
    """

    def __init__(
        self,
        worker_id: str,
        process: WorkerProcess,
        pipes: WorkerPipes,
        selector: selectors.BaseSelector,
        output_limit_bytes: int,
        on_message: Callable[[WorkerHandle, Ready | WorkerResult], None],
        on_death: Callable[[WorkerHandle], None],
    ) -> None:
        self.worker_id = worker_id
        self.process = process
        self.state = WorkerState.STARTING
        self.job: Job | None = None
        self.fault = ""
        self.left_call_unread = False
        self.is_tree_dead = False
        self.death = EndingKind.WORKER_DIED, ""
        self.calls_done = 0
        self.started_at = time.monotonic()
        self.ready_at = 0.0
        self.idle_since = 0.0
        self._pipes = pipes
        self._selector = selector
        self._on_message = on_message
        self._on_death = on_death
        self._decoder = FrameDecoder()
        self._unsent: list[memoryview] = []
        self._waits_to_send = False
        self._buffers = {
            pipes.stdout: HeadTailBuffer(output_limit_bytes),
            pipes.stderr: HeadTailBuffer(output_limit_bytes),
        }
        self._open_outputs = set(self._buffers)
        self._is_closed = False
        self._pidfd = _open_pidfd(process.pid)
        self._register()

    def send(self, job: Job) -> None:
        """Give the worker a call. What it printed since its last call is dropped."""
        self.state = WorkerState.BUSY
        self.job = job
        for buffer in self._buffers.values():
            buffer.clear()
        job.mark_dispatched(self.started_at, self.ready_at, is_first_call=self.calls_done == 0)
        self._unsent = [memoryview(frame) for frame in job.frames]
        self._send_more()

    def kill(self) -> None:
        """Kill the process with all it started. `on_death` follows when it is dead."""
        if self.state is not WorkerState.DYING:
            self.state = WorkerState.DYING
            self._kill_tree()

    @property
    def must_be_polled(self) -> bool:
        """Whether the system does not tell of the process's end, so that `poll` must be called."""
        return self._pidfd is None

    def poll(self) -> None:
        """Look whether the process has ended; calls `on_death` then."""
        if self.process.has_ended():
            while self._receive():
                pass
            self._on_death(self)

    def expiry(self, config: WorkerConfig) -> float:
        """When the state that it is in has lasted too long, on the monotonic clock; infinity for never."""
        if self.state is WorkerState.STARTING:
            return self.started_at + config.start_timeout_s
        if self.state is WorkerState.IDLE:
            return self.idle_since + config.idle_timeout_s
        if self.state is WorkerState.BUSY and self.job is not None:
            if self.job.started_at is not None:
                return self.job.started_at + self.job.deadline_s
            if self.job.dispatched_at is not None:
                return self.job.dispatched_at + config.start_timeout_s
        return float("inf")

    def _kill_tree(self) -> None:
        if self.state is WorkerState.IDLE:
            self.state = WorkerState.DYING  # it takes no call any more
        if self._pidfd is not None or not self.process.has_ended():
            self.is_tree_dead = process_tree.kill_tree(self.process.pid, self._pidfd)

    def captured_output(self) -> CapturedOutput:
        """What the current call wrote up to now."""
        self._drain_output()
        stdout, stderr = (self._buffers[pipe] for pipe in (self._pipes.stdout, self._pipes.stderr))
        return CapturedOutput(stdout.text(), stderr.text(), stdout.total_bytes, stderr.total_bytes)

    def close(self) -> None:
        """Let go of every descriptor. The process must be dead, or is left to die by its lifeline."""
        self._is_closed = True
        for descriptor in tuple(self._open_outputs):
            self._stop_watching_output(descriptor)
        self._unregister(self._pipes.channel)
        if self._pidfd is not None:
            self._unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._pipes.close()

    def close_after_fork(self) -> None:
        """In a forked child: close the descriptors, so that the workers' life hangs on the parent alone."""
        self._pipes.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self.process.forget_after_fork()

    def _register(self) -> None:
        self._pipes.channel.setblocking(False)
        self._selector.register(self._pipes.channel, selectors.EVENT_READ, self._on_channel)
        for descriptor in self._open_outputs:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, self._on_output)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, self._on_exit)

    def _unregister(self, file: int | socket.socket) -> None:
        try:
            self._selector.unregister(file)
        except KeyError:
            pass  # unregistered earlier, at its end of file

    # One select() may report a worker's death and, after it, its output or its channel. Those are closed by
    # then, and their numbers may belong to another worker.

    def _on_channel(self, _: int, events: int) -> None:
        if self._is_closed:
            return
        if events & selectors.EVENT_READ:
            self._receive()
        if events & selectors.EVENT_WRITE and self.state is WorkerState.BUSY:
            self._send_more()

    def _on_output(self, descriptor: int, _: int) -> None:
        if not self._is_closed:
            self._read_output(descriptor, _READ_BYTES)

    def _on_exit(self, _: int, __: int) -> None:
        while self._receive():
            pass  # an answer that was sent just before the end counts
        assert self._pidfd is not None
        self._unregister(self._pidfd)
        self._on_death(self)

    def _receive(self) -> bool:
        """Read once. Returns whether there may be more."""
        try:
            data = self._pipes.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # Linux says so instead of "end of file" when the other side ended with data unread (unix(7)).
            self.left_call_unread = True
            data = b""
        except OSError as error:
            logger.debug("worker %s: %s", self.worker_id, error)
            data = b""
        if not data:
            self._on_end_of_channel()
            return False
        try:
            messages = [pickle.loads(frame) for frame in self._decoder.feed(data)]
        except Exception as error:  # noqa: BLE001 - a program wrote there; reading that may raise anything
            self._on_bad_message(error)
            return False
        for message in messages:
            if not isinstance(message, Ready | WorkerResult):
                self._on_bad_message(ProtocolError(f"a {type(message).__name__}"))
                return False
            self._on_message(self, message)
        return True

    def _on_end_of_channel(self) -> None:
        self._unregister(self._pipes.channel)
        if self._pidfd is None:
            self._kill_tree()  # `poll` will find it dead
        elif self.state is not WorkerState.DYING and not _is_readable(self._pidfd, _EXIT_GRACE_MS):
            self.fault = "the program closed its worker's channel to the driver"
            self._kill_tree()

    def _on_bad_message(self, error: Exception) -> None:
        self.fault = f"the program wrote into its worker's channel to the driver ({error})"
        self._unregister(self._pipes.channel)
        self._kill_tree()

    def _send_more(self) -> None:
        try:
            while self._unsent:
                sent = self._pipes.channel.sendmsg(self._unsent)
                self._drop_sent(sent)
        except BlockingIOError:
            self._waits_to_send = True
            self._selector.modify(
                self._pipes.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, self._on_channel
            )
            return
        except OSError as error:
            # The worker ended while it was idle. Its death is on the way through the selector.
            logger.debug("worker %s cannot be sent a call: %s", self.worker_id, error)
            self._unsent = []
            return
        if self._waits_to_send:
            self._waits_to_send = False
            self._selector.modify(self._pipes.channel, selectors.EVENT_READ, self._on_channel)
        assert self.job is not None
        self.job.mark_started()

    def _drop_sent(self, count: int) -> None:
        while count:
            first = self._unsent[0]
            if count < len(first):
                self._unsent[0] = first[count:]
                return
            count -= len(first)
            self._unsent.pop(0)

    def _drain_output(self) -> None:
        # Not until it blocks: a thread that the program left behind may write faster than this reads.
        for descriptor in tuple(self._open_outputs):
            if waiting := _waiting_bytes(descriptor):
                self._read_output(descriptor, waiting)

    def _read_output(self, descriptor: int, count: int) -> None:
        try:
            data = os.read(descriptor, count)
        except BlockingIOError:
            return
        if data:
            self._buffers[descriptor].write(data)
        else:
            self._stop_watching_output(descriptor)

    def _stop_watching_output(self, descriptor: int) -> None:
        self._open_outputs.discard(descriptor)
        self._unregister(descriptor)


def _open_pidfd(pid: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:  # Linux before 5.3, or a container that forbids the system call
        logger.debug("pidfd_open: %s; workers are polled for their end", error)
        return None


def _is_readable(descriptor: int, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def _waiting_bytes(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    count: int = struct.unpack("i", answer)[0]
    return count
