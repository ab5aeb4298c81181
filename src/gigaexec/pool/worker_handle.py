"""The driver's side of one worker process."""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable

from gigaexec.calls import CapturedOutput, LimitHit, WorkerResult
from gigaexec.config import WorkerConfig
from gigaexec.pool.endings.credibility import WorkerReports, needs_file
from gigaexec.pool.endings.ending import Death
from gigaexec.pool.handshake import complete_handshake
from gigaexec.pool.jobs import Answer, EndingKind, Job
from gigaexec.pool.output_pipes import OutputPipes
from gigaexec.pool.starters.start_failures import shortage_behind
from gigaexec.pool.supervision.process_tree import Killing, send_to_child
from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.pool.watches import Watches
from gigaexec.pool.worker_channel import WorkerChannel
from gigaexec.pool.worker_clock import WorkerClock, WorkerState
from gigaexec.pool.worker_process import SupervisedProcess, WorkerPipes, WorkerProcess
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.descriptors import DescriptorsLostError
from gigaexec.wire.messages import Message, Ready

logger = logging.getLogger(__name__)


class WorkerHandle:
    """Owns one worker process and its descriptors. Used on the dispatcher's thread, or under its lock.

    Args:
        worker_id: The worker's id, 12 hex digits.
        process: The started process.
        pipes: The driver's ends of the worker's channel and pipes.
        selector: The dispatcher's selector.
        config: Configuration of the workers.
        start_kill: Called with the handle and the work of killing its processes. Must return at once.
        on_message: Called with the handle and each message that the worker sends.
        on_exit: Called with the handle when the process is dead.
        on_limit: Called with the handle and the limit hit when the call exceeds its output limit.

    Raises:
        OSError: A descriptor cannot be watched: the user has no epoll watch left.
    """

    def __init__(
        self,
        worker_id: str,
        process: WorkerProcess,
        pipes: WorkerPipes,
        selector: selectors.BaseSelector,
        config: WorkerConfig,
        *,
        start_kill: Callable[[WorkerHandle, Killing], None],
        on_message: Callable[[WorkerHandle, Ready | Answer], None],
        on_exit: Callable[[WorkerHandle], None],
        on_limit: Callable[[WorkerHandle, LimitHit], None],
    ) -> None:
        self.worker_id = worker_id
        self.process = process
        self.supervised = process if isinstance(process, SupervisedProcess) else None
        """`process` if the worker runs one call and then ends; None for a reused worker."""
        self.state = WorkerState.STARTING
        self.call: RunningCall | None = None
        self.calls_done = 0
        self.reports = WorkerReports(config.sandbox.level)
        self.clock = WorkerClock(config, has_template=self.supervised is not None)
        self.death = Death()
        self.is_tree_dead = False
        """True if all processes that the worker started were killed with the worker."""
        self.is_being_killed = False
        """True while the processes of the worker are killed in parts; see `kills`."""
        self.has_ended = False
        """True if the worker's process is dead. Processes that it started may live."""
        self.is_end_overdue = False
        """True if the worker is dead, but its root process has not ended in time."""
        self.was_ready = False
        self.is_hung = False
        """True if the worker took too long to start."""
        self.is_abandoned = False
        """True if the worker was killed because its template hangs. The failed start is then not counted."""
        self.is_short_of_resources = False
        """True if the worker ended because the machine lacked a resource for the moment."""
        self._config = config
        self._pipes = pipes
        self._channel = WorkerChannel(pipes.channel, worker_id)
        self._output = OutputPipes(pipes.stdout, pipes.stderr, config.captured_output_bytes)
        self._watches = Watches(selector, self)
        self._start_kill = start_kill
        self._report_message = on_message
        self._report_exit = on_exit
        self._report_limit = on_limit
        self._is_closed = False
        self._pidfd = process.open_pidfd()
        self._handshake = self.supervised.handshake_descriptor() if self.supervised is not None else None
        try:
            self._watch_all()
        except BaseException:
            self._watches.remove_all()
            if self._pidfd is not None:
                os.close(self._pidfd)
            raise

    # Commands of the dispatcher.

    def send(self, job: Job, pool_not_full_since: float) -> None:
        """Send a call to the worker. Output that was written after the previous call is dropped.

        Args:
            job: The job of the call.
            pool_not_full_since: Time since which the pool has not been full, on the monotonic clock. Before
                that, no call waited for this worker's start.
        """
        self.enter(WorkerState.BUSY)
        self._output.clear()
        self.call = RunningCall(job, self.process, self.worker_id, self._config.node_id)
        awaited_since = max(self.clock.started_at, pool_not_full_since)
        job.mark_dispatched(awaited_since, self.clock.ready_at, is_first_call=self.calls_done == 0)
        self._send(lambda: self._channel.send(job))

    def become_ready(self) -> None:
        """Record that the worker is now ready for its first call."""
        self.was_ready = True
        self.clock.mark_ready()

    def finish_call(self) -> None:
        """Forget the answered call."""
        self.call = None

    def await_end(self, call: RunningCall, answer: Answer) -> None:
        """Store a supervised worker's answer. The call ends when all its processes have ended."""
        self.enter(WorkerState.ENDING)
        call.answer = answer
        call.job.mark_answered()

    def kill(self, death: Death | None = None) -> None:
        """Kill the process and all its descendants. `on_exit` is called when the process is dead.

        The kill is added to the pool's kills, so this method returns at once.

        Args:
            death: The cause. Ignored if it is None, or if the worker is dying already.
        """
        if self.state is not WorkerState.DYING:
            self.death = death or self.death
            self.enter(WorkerState.DYING)
            self._kill_tree()

    @property
    def is_closed(self) -> bool:
        """True if every descriptor is closed."""
        return self._is_closed

    @property
    def must_be_polled(self) -> bool:
        """True if no descriptor reports the end of the process, so that `poll` must be called.

        False during a kill without a pidfd: a process that is polled may be reaped, and its pid reused.
        """
        return self._pidfd is None and self._handshake is None and not self.is_being_killed

    def poll(self) -> None:
        """Call `on_exit` if the process has ended."""
        if self.process.has_ended():
            self._on_end()

    def expiry(self) -> float:
        """Return the time when the worker's state times out, on the monotonic clock; infinity for never."""
        return self.clock.expiry(self.state, self.call.job if self.call is not None else None)

    def captured_output(self) -> CapturedOutput:
        """Read the output that is in the pipes now, and return the current call's kept output."""
        self.drain_output()
        return self._output.captured()

    def drain_output(self) -> None:
        """Read the output that is in the pipes now. The current call may then hit its output limit."""
        self._output.read_all()
        self._after_output()

    def close(self) -> None:
        """Close all descriptors. If the worker is still alive, closing its lifeline kills it."""
        self._is_closed = True
        self._watches.remove_all()
        if self._pidfd is not None:
            if self.is_being_killed and not self.has_ended:  # the kill may have stopped the process
                send_to_child(self.process.pid, self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)
            self._pidfd = None
        self._pipes.close()
        self._channel.close()

    def close_after_fork(self) -> None:
        """Close the descriptors in a forked child, so that the workers end when the parent ends."""
        self._pipes.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self.process.forget_after_fork()

    def enter(self, state: WorkerState) -> None:
        """Enter a state, and start its timeout."""
        self.state = state
        self.clock.restart()

    def _kill_tree(self) -> None:
        if self.state is WorkerState.IDLE:
            self.enter(WorkerState.DYING)
        if self._handshake is not None:
            self._abort_handshake()
        elif not self.is_being_killed and (self._pidfd is not None or not self.process.has_ended()):
            self.is_being_killed = True
            self._start_kill(self, self.process.kill(self._pidfd))

    def blame(self, fault: str) -> None:
        """Set the cause of the worker's death, unless another cause is set already."""
        if self.death == Death():
            self.death = Death(message=fault)

    # Events. One select() may report a worker's death, and then data on its output or channel. These
    # descriptors are closed by then, and their numbers may already belong to another worker.

    def _watch_all(self) -> None:
        self._watches.add(self._channel.number, self._on_channel)
        for descriptor in self._output.open:
            os.set_blocking(descriptor, False)
            self._watches.add(descriptor, self._on_output)
        if self._pidfd is not None:
            self._watches.add(self._pidfd, self._on_exit)
        if self._handshake is not None:
            self._watches.add(self._handshake, self._on_failed_handshake)

    def _on_channel(self, _: int, events: int) -> None:
        if self._is_closed:
            return
        if events & selectors.EVENT_READ:
            self._receive()
        if events & selectors.EVENT_WRITE and self.state is WorkerState.BUSY:  # nothing for a dying worker
            self._send(self._channel.send_more)

    def _on_output(self, descriptor: int, _: int) -> None:
        if not self._is_closed:
            self._output.read(descriptor)
            self._after_output()

    def _on_exit(self, pidfd: int, _: int) -> None:
        self._watches.remove(pidfd)
        self._on_end()

    def _on_end(self) -> None:
        while self._receive():
            pass  # an answer that was sent just before the end still counts
        self.has_ended = True
        self._report_exit(self)

    def _on_failed_handshake(self, _: int, __: int) -> None:
        if self._is_closed or self._handshake is None or self.supervised is None:
            return
        if self.state is WorkerState.STARTING and (refusal := self.supervised.permanent_refusal()):
            self.death = Death(EndingKind.NOT_STARTED, refusal)
        self._abort_handshake()

    def _after_output(self) -> None:
        for descriptor in (self._pipes.stdout, self._pipes.stderr):
            if descriptor not in self._output.open:
                self._watches.remove(descriptor)
        call = self.call
        limit = call.job.limits.output_bytes if call is not None else None
        if call is not None and limit is not None and call.hit is None and self._output.total_bytes > limit:
            self._report_limit(self, LimitHit("output_bytes", limit, self._output.total_bytes))

    def _abort_handshake(self) -> None:
        """Give up a worker before its handshake. It runs no program yet, and ends when its channels close."""
        assert self._handshake is not None
        self._watches.remove(self._handshake)
        self._handshake = None
        self.is_tree_dead = True
        self._report_exit(self)

    # Messages.

    def _receive(self) -> bool:
        """Read from the channel once. Returns True if more data may wait."""
        try:
            data = self._channel.read()
            if data is None:
                return False
            if not data:
                self._on_end_of_channel()
                return False
        except DescriptorsLostError as error:
            self._on_lost_message(error)
            return False
        except ProtocolError as error:
            self._on_bad_message(error)
            return False
        try:
            for message in self._channel.messages(data):
                self._take(message)
        except ProtocolError as error:
            self._on_bad_message(error)
            return False
        return not self._is_closed

    def _take(self, message: Message) -> None:
        if isinstance(message, WorkerResult):
            self._report_message(self, self._answer(message))
            return
        self.reports.add(message)
        if isinstance(message, Ready) and self._has_shaken_hands():
            self._report_message(self, message)

    def _has_shaken_hands(self) -> bool:
        """Complete the handshake, if one is due. Returns False if the worker did not start."""
        if self._handshake is None or self.supervised is None:
            return True
        files = self._channel.take_files()
        try:
            self._pidfd = complete_handshake(self.supervised, files, self._watches, self._on_exit)
        except OSError as error:
            self.death = Death(message=f"a worker process cannot be watched: {error}")
            self.is_short_of_resources = shortage_behind(error) is not None
            self._abort_handshake()
            return False
        self._watches.remove(self._handshake)
        self._handshake = None
        return self.process.pid != 0  # 0: the worker has died meanwhile, and its exit is about to be reported

    def _answer(self, result: WorkerResult) -> Answer:
        """Combine a result with the file of its value. Raises ProtocolError if the result is not credible."""
        files = self._channel.take_files()
        self.reports.check(result, self.call)
        if needs_file(result) and not files and result.file_number is not None:
            files = [self._channel.fetch_file(self.supervised, result.file_number)]
        if len(files) != needs_file(result):
            raise ProtocolError(f"expected {needs_file(result):d} file(s) with the result, got {len(files)}")
        return Answer(result, files[0] if files else None)

    def _on_end_of_channel(self) -> None:
        if self.call is not None:
            self.call.was_left_unread = self._channel.was_reset
        self._watches.remove(self._channel.number)
        if self._handshake is not None:
            return  # the handshake descriptor will report end of file, and perhaps the reason
        if self._pidfd is None:
            self._kill_tree()  # `poll` will find the process dead
        elif self.state not in (WorkerState.DYING, WorkerState.ENDING):
            self.clock.mark_channel_lost()

    def _on_lost_message(self, error: DescriptorsLostError) -> None:
        self._channel.distrust()
        if self.state is WorkerState.DYING:
            return  # the cause of the death is known already
        if self.state is WorkerState.BUSY:
            death = Death(EndingKind.ANSWER_LOST, f"the call ran, but its answer was lost: {error}")
        else:
            death = Death(message=f"the first message of a worker was lost: {error}")
            self.is_short_of_resources = True
        self.kill(death)

    def _on_bad_message(self, error: ProtocolError) -> None:
        self._channel.distrust()
        if self.was_ready:
            self.blame(f"invalid message ({error}): the program wrote into the channel or changed the engine")
        else:
            self.blame(f"a worker process sent a malformed first message ({error})")
        self._watches.remove(self._channel.number)
        self.kill()

    # Sending.

    def _send(self, send: Callable[[], float | None]) -> None:
        assert self.call is not None
        was_waiting = self._channel.is_waiting_to_send
        try:
            sent_at = send()
        except (BrokenPipeError, ConnectionResetError) as error:
            # The worker ended while it was idle.
            logger.debug("a call cannot be sent to worker %s: %s", self.worker_id, error)
            self.call.is_untouched = self._channel.give_up_sending()
            if not self.clock.is_channel_lost:
                self.clock.mark_channel_lost()
            sent_at = None
        except OSError as error:
            # Too many descriptors are in flight (ETOOMANYREFS), or the kernel is out of memory. The call is
            # sent to another worker, once.
            self._channel.give_up_sending()
            kind = EndingKind.NOT_STARTED if self.call.job.was_requeued else EndingKind.WORKER_DIED
            self.kill(Death(kind, f"the call cannot be sent to a worker: {error}"))
            sent_at = None
        if self._channel.is_waiting_to_send or was_waiting:
            self._watches.watch_writability(
                self._channel.number, self._on_channel, is_wanted=self._channel.is_waiting_to_send
            )
        if sent_at is not None:
            self.call.job.mark_started(sent_at)
