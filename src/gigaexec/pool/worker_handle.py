"""The driver's side of one worker process."""

from __future__ import annotations

import enum
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable

from gigaexec.calls import CapturedOutput, ConfinementStep, LimitHit, WorkerResult
from gigaexec.config import WorkerConfig
from gigaexec.limits import Limits
from gigaexec.pool.endings.credibility import (
    Answer,
    needs_file,
    require_credible_failure,
    require_credible_limit,
)
from gigaexec.pool.jobs import EndingKind, Job
from gigaexec.pool.outgoing_call import OutgoingCall
from gigaexec.pool.output_pipes import OutputPipes
from gigaexec.pool.starters.contract import WorkerPipes, WorkerProcess
from gigaexec.pool.starters.start_failures import shortage_behind
from gigaexec.pool.supervision.sampling import TreeSample, sample_tree
from gigaexec.sandbox.policy import SandboxLevel
from gigaexec.wire.descriptors import (
    DescriptorsLostError,
    OwnedDescriptor,
    TooManyDescriptorsError,
    receive_with_descriptors,
)
from gigaexec.wire.frames import FrameDecoder, ProtocolError
from gigaexec.wire.messages import Confined, Ready, decode_message

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024

# The first message of a forked worker brings two, an answer at most one.
_MAX_DESCRIPTORS_OF_MESSAGE = 2

# A process that ends closes its channel a moment before its end can be seen. A worker whose channel closes
# and that lives longer than this has been robbed of it by its program.
_EXIT_GRACE_S = 0.1

# A worker of one call ends right after its answer. One whose program keeps it from that is killed.
_END_GRACE_S = 0.5

# How soon a killed worker must end: its template may hang, and not reap it.
_DEATH_GRACE_S = 2.0


class WorkerState(enum.Enum):
    STARTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    ENDING = enum.auto()
    """It has answered its one call; its processes are about to end."""
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
        node_id: Name of this machine.
        on_message: Called with the handle and each record that the worker sends.
        on_death: Called with the handle once the process is dead.
        on_limit: Called when the call has written more than it may.
        sandbox: How its programs are confined, and so which refusals of it can be believed.
    """

    def __init__(
        self,
        worker_id: str,
        process: WorkerProcess,
        pipes: WorkerPipes,
        selector: selectors.BaseSelector,
        output_limit_bytes: int,
        node_id: str,
        on_message: Callable[[WorkerHandle, Ready | Answer], None],
        on_death: Callable[[WorkerHandle], None],
        on_limit: Callable[[WorkerHandle, LimitHit], None],
        *,
        sandbox: SandboxLevel = SandboxLevel.OFF,
    ) -> None:
        self.worker_id = worker_id
        self.node_id = node_id
        self.process = process
        self.state = WorkerState.STARTING
        self.job: Job | None = None
        self.fault = ""
        self.left_call_unread = False
        self.got_nothing_of_call = False
        self.is_tree_dead = False
        self.death = EndingKind.WORKER_DIED, ""
        self.hit: LimitHit | None = None
        self.answer: Answer | None = None
        self.answered_at = 0.0
        self.killed_at = float("inf")
        self.was_ready = False
        self.is_hung = False
        self.is_given_up = False
        self.is_short_of_something = False
        self.steps: tuple[ConfinementStep, ...] = ()
        self.peak_tree_kb = 0
        self.last_sample: TreeSample | None = None
        self.cpu_time_before_s = 0.0
        self.memory_before_bytes = 0
        self.scratch_seen_at = 0.0
        self.exact_look_at = 0.0
        self._lacks_baseline = False
        self.calls_done = 0
        self.started_at = time.monotonic()
        self.ready_at = 0.0
        self.idle_since = 0.0
        self._pipes = pipes
        self._selector = selector
        self._on_message = on_message
        self._on_death = on_death
        self._on_limit = on_limit
        self._decoder = FrameDecoder()
        self._outgoing: OutgoingCall | None = None
        self._waits_to_send = False
        self._output = OutputPipes(pipes.stdout, pipes.stderr, output_limit_bytes)
        self._is_closed = False
        self._channel_lost_at = float("inf")
        self._is_end_overdue = False
        self._is_confined = False
        self._has_nonsense = False
        self._sandbox = sandbox
        self._received_descriptors: list[OwnedDescriptor] = []
        self._watched: set[int] = set()
        self._pidfd = process.open_pidfd()
        self._introduction = process.introduction()
        try:
            self._register()
        except BaseException:
            for number in self._watched:
                selector.unregister(number)
            if self._pidfd is not None:
                os.close(self._pidfd)
            raise

    def send(self, job: Job, pool_not_full_since: float) -> None:
        """Give the worker a call. What it printed since its last call is dropped.

        Args:
            job: The call.
            pool_not_full_since: When the pool could run one more call. The start of a worker that goes on
                while it cannot keeps no call waiting.
        """
        self.state = WorkerState.BUSY
        self.job = job
        self._output.clear()
        self.peak_tree_kb = 0
        self.last_sample = None
        self.cpu_time_before_s = 0.0
        self.memory_before_bytes = 0
        self._lacks_baseline = job.limits.need_watching and not self.process.is_single_use
        if self._lacks_baseline:
            self.sample()
        awaited_since = max(self.started_at, pool_not_full_since)
        job.mark_dispatched(awaited_since, self.ready_at, is_first_call=self.calls_done == 0)
        descriptors = [file.number for file in job.files]
        self._outgoing = OutgoingCall(self._pipes.channel, job.frames, descriptors)
        self._send_more()

    def kill(self) -> None:
        """Kill the process with all it started. `on_death` follows when it is dead."""
        if self.state is not WorkerState.DYING:
            self.state = WorkerState.DYING
            self.killed_at = time.monotonic()
            self._kill_tree()

    @property
    def is_closed(self) -> bool:
        """Whether everything that was held for it has been let go of."""
        return self._is_closed

    @property
    def must_be_polled(self) -> bool:
        """Whether the system does not tell of the process's end, so that `poll` must be called."""
        return self._pidfd is None and self._introduction is None

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
        lost = self._channel_lost_at + _EXIT_GRACE_S
        if self.state is WorkerState.IDLE:
            return min(lost, self.idle_since + config.idle_timeout_s)
        if self.state is WorkerState.BUSY and self.job is not None:
            if self.job.started_at is not None:
                return min(lost, self.job.started_at + self.job.deadline_s)
            if self.job.dispatched_at is not None:
                return min(lost, self.job.dispatched_at + config.start_timeout_s)
        if self.state is WorkerState.ENDING:
            return self.answered_at + _END_GRACE_S
        if self.state is WorkerState.DYING and self.process.origin is not None:
            return self.killed_at + _DEATH_GRACE_S
        return float("inf")

    def _kill_tree(self) -> None:
        if self.state is WorkerState.IDLE:
            self.state = WorkerState.DYING  # it takes no call any more
        if self._introduction is not None:
            self._give_up_introduction()
        elif self._pidfd is not None or not self.process.has_ended():
            self.is_tree_dead = self.process.kill(self._pidfd)

    def sample(self) -> TreeSample | None:
        """Measure the processes of the call that runs. None where they cannot be looked at."""
        job = self.job
        if job is None or not self.process.root_pid:
            return None
        sample = sample_tree(self.process.root_pid, self.process.pid, job.shared)
        if sample is not None:
            if self._lacks_baseline:  # the first look, which may fail before the call is sent
                self._lacks_baseline = False
                self.cpu_time_before_s = sample.cpu_time_s
                self.memory_before_bytes = sample.memory_bytes
            self.peak_tree_kb = max(self.peak_tree_kb, sample.memory_bytes // 1024)
            self.last_sample = sample
        return sample

    def captured_output(self) -> CapturedOutput:
        """What the current call wrote up to now."""
        self.drain_output()
        return self._output.captured()

    def close(self) -> None:
        """Let go of every descriptor. The process must be dead, or is left to die by its lifeline."""
        self._is_closed = True
        for descriptor in self._output.open:
            self._unregister(descriptor)
        self._unregister(self._pipes.channel)
        if self._pidfd is not None:
            self._unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        self._pipes.close()
        for file in self._received_descriptors:
            file.close()

    def close_after_fork(self) -> None:
        """In a forked child: close the descriptors, so that the workers' life hangs on the parent alone."""
        self._pipes.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self.process.forget_after_fork()

    def _register(self) -> None:
        self._pipes.channel.setblocking(False)
        self._watch(self._pipes.channel.fileno(), self._on_channel)
        for descriptor in self._output.open:
            os.set_blocking(descriptor, False)
            self._watch(descriptor, self._on_output)
        if self._pidfd is not None:
            self._watch(self._pidfd, self._on_exit)
        if self._introduction is not None:
            self._watch(self._introduction, self._on_failed_introduction)

    def _introduce(self) -> None:
        assert self._introduction is not None
        files, self._received_descriptors = self._received_descriptors, []
        pidfd = self.process.introduce(files)
        if pidfd is not None:
            try:
                self._watch(pidfd, self._on_exit)
            except OSError:
                self.process.kill(pidfd)
                os.close(pidfd)
                raise
        self._pidfd = pidfd
        self._unregister(self._introduction)
        self._introduction = None

    def _on_failed_introduction(self, _: int, __: int) -> None:
        if self._is_closed or self._introduction is None:
            return
        if self.state is WorkerState.STARTING and (refusal := self.process.refusal()):
            self.death = EndingKind.NOT_STARTED, refusal
        self._give_up_introduction()

    def _give_up_introduction(self) -> None:
        """End a process that was not introduced: nothing runs in it yet, and it ends with its channels."""
        assert self._introduction is not None
        self._unregister(self._introduction)
        self._introduction = None
        self.is_tree_dead = True
        self._on_death(self)

    def _unregister(self, file: int | socket.socket) -> None:
        number = file if isinstance(file, int) else file.fileno()
        if number in self._watched:  # else unregistered earlier, at its end of file
            self._watched.discard(number)
            self._selector.unregister(number)

    def _watch(self, number: int, callback: Callable[[int, int], None]) -> None:
        self._selector.register(number, selectors.EVENT_READ, callback)
        self._watched.add(number)

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
            self._output.read(descriptor)
            self._after_output()

    def _on_exit(self, _: int, __: int) -> None:
        while self._receive():
            pass  # an answer that was sent just before the end counts
        assert self._pidfd is not None
        self._unregister(self._pidfd)
        self._on_death(self)

    def _receive(self) -> bool:
        """Read once. Returns whether there may be more."""
        if self._has_nonsense:
            return False  # what comes after it may be part of it
        try:
            data, descriptors = receive_with_descriptors(
                self._pipes.channel, _READ_BYTES, _MAX_DESCRIPTORS_OF_MESSAGE
            )
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # Linux says so instead of "end of file" when the other side ended with data unread (unix(7)).
            self.left_call_unread = True
            data, descriptors = b"", []
        except TooManyDescriptorsError as error:
            self._on_bad_message(ProtocolError(str(error.strerror)))
            return False
        except DescriptorsLostError as error:
            self._on_lost_message(error)
            return False
        except OSError as error:
            logger.debug("worker %s: %s", self.worker_id, error)
            data, descriptors = b"", []
        self._received_descriptors += map(OwnedDescriptor, descriptors)
        if not data:
            self._on_end_of_channel()
            return False
        try:
            if len(self._received_descriptors) > _MAX_DESCRIPTORS_OF_MESSAGE:
                raise ProtocolError("more than one message's descriptors")
            for frame in self._decoder.feed(data):
                self._on_record(decode_message(frame))
        except ProtocolError as error:  # a program wrote there
            self._on_bad_message(error)
            return False
        return not self._is_closed

    def _on_record(self, record: Ready | Confined | WorkerResult) -> None:
        # What a worker says before its program runs can be believed. The program can say it too, but later.
        said_before = {Ready: self.was_ready, Confined: self._is_confined}
        if said_before.get(type(record)):
            raise ProtocolError("a second report of the sandbox")
        if isinstance(record, Confined):
            self._is_confined = True
            self.steps = record.steps
        elif isinstance(record, WorkerResult):
            self._on_message(self, self._answer(record))
        else:
            if self._introduction is not None:
                try:
                    self._introduce()
                except ValueError as error:
                    raise ProtocolError(str(error)) from error
                except OSError as error:  # the user's epoll watches are used up, say
                    self.death = EndingKind.WORKER_DIED, f"a worker process cannot be watched: {error}"
                    self.is_short_of_something = shortage_behind(error) is not None
                    self._give_up_introduction()
                    return
            self.steps = record.steps
            self._on_message(self, record)

    def _answer(self, result: WorkerResult) -> Answer:
        """Put a result together with its file, if it has one."""
        files, self._received_descriptors = self._received_descriptors, []
        require_credible_limit(result, self.job.limits if self.job is not None else Limits())
        require_credible_failure(result, self._sandbox, self.steps, is_confined=self._is_confined)
        if self.process.is_single_use and (self.answer is not None or result.spill_path is not None):
            raise ProtocolError("a second result, or one in a file with a name")
        if needs_file(result) and not files and result.file_number is not None:
            files = [self._fetch_file(result.file_number)]
        if len(files) != needs_file(result):
            raise ProtocolError(f"a result with {len(files)} files")
        return Answer(result, files[0] if files else None)

    def _fetch_file(self, number: int) -> OwnedDescriptor:
        try:
            file = self.process.open_file_of_worker(number)
            self._pipes.channel.shutdown(socket.SHUT_WR)  # the worker waits for it
        except OSError as error:
            raise ProtocolError(f"a result in a file that cannot be had: {error}") from error
        return file

    def _on_end_of_channel(self) -> None:
        self._unregister(self._pipes.channel)
        if self._introduction is not None:
            return  # it ends as well, and may say why
        if self._pidfd is None:
            self._kill_tree()  # `poll` will find it dead
        elif self.state not in (WorkerState.DYING, WorkerState.ENDING):
            self._channel_lost_at = time.monotonic()

    @property
    def has_lost_channel(self) -> bool:
        """Whether the channel closed some time ago, and the process's end has not followed."""
        return time.monotonic() >= self._channel_lost_at + _EXIT_GRACE_S

    def end_for_lost_channel(self) -> None:
        """End a worker that has lost its channel, unless its end is on the way."""
        if self.process.is_dead() and not self._is_end_overdue:
            self._is_end_overdue = True
            self._channel_lost_at = time.monotonic() + _DEATH_GRACE_S  # who tells of it is slow, or hangs
            return
        self._channel_lost_at = float("inf")
        if self._is_end_overdue:
            if self.process.is_dead_unreaped():
                self.kill()
            return  # else a keeper is at work
        if self.job is None or self.job.started_at is not None:
            self.fault = "the program closed its worker's channel to the driver"
        self.kill()

    def _on_lost_message(self, error: DescriptorsLostError) -> None:
        self._has_nonsense = True
        if self.state is WorkerState.DYING:
            return  # what it is killed for holds
        if self.state is WorkerState.BUSY:
            self.death = EndingKind.ANSWER_LOST, f"the answer of a call that ran was lost: {error}"
        else:
            self.death = EndingKind.WORKER_DIED, f"the first message of a worker was lost: {error}"
            self.is_short_of_something = True
        self.kill()

    def _on_bad_message(self, error: ProtocolError) -> None:
        self._has_nonsense = True
        for file in self._received_descriptors:
            file.close()
        self.fault = f"the program wrote into its worker's channel to the driver ({error})"
        self._unregister(self._pipes.channel)
        self.kill()

    def _send_more(self) -> None:
        outgoing = self._outgoing
        assert self.job is not None
        assert outgoing is not None
        try:
            outgoing.send()
        except BlockingIOError:
            self._waits_to_send = True
            self._selector.modify(
                self._pipes.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, self._on_channel
            )
            return
        except (BrokenPipeError, ConnectionResetError) as error:
            # The worker ended while it was idle.
            logger.debug("worker %s cannot be sent a call: %s", self.worker_id, error)
            self.got_nothing_of_call = outgoing.is_untouched
            self._outgoing = None
            if self._channel_lost_at == float("inf"):
                self._channel_lost_at = time.monotonic()  # its end is mostly on the way
            return
        except OSError as error:
            # Too many descriptors are under way (ETOOMANYREFS), or the kernel has no memory for it. Another
            # worker gets the call, once.
            self._outgoing = None
            kind = EndingKind.NOT_STARTED if self.job.was_put_back else EndingKind.WORKER_DIED
            self.death = kind, f"the call cannot be sent to a worker: {error}"
            self.kill()
            return
        if self._waits_to_send:
            self._waits_to_send = False
            self._selector.modify(self._pipes.channel, selectors.EVENT_READ, self._on_channel)
        self._outgoing = None
        self.job.mark_started(outgoing.last_part_at)

    def drain_output(self) -> None:
        """Read what the call has written up to now. It may hit its limit by that."""
        self._output.read_all()
        self._after_output()

    def _after_output(self) -> None:
        for descriptor in (self._pipes.stdout, self._pipes.stderr):
            if descriptor not in self._output.open:
                self._unregister(descriptor)
        limit = self.job.limits.output_bytes if self.job is not None else None
        if limit is not None and self.hit is None and self._output.total_bytes > limit:
            self._on_limit(self, LimitHit("output_bytes", limit, self._output.total_bytes))
