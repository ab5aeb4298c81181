"""The thread that owns a pool of workers.

    any thread, any event loop             dispatcher thread                          worker processes
      submit(job) ---- queue --------------> first in, first out
          |                                 | starts and ends workers
          |--------- call, to an idle one --|---- call ---- socket -----------------> one call at a time
                                            |<--- result -- socket ------------------
                                            |<--- output -- two pipes ---------------
                                            |<--- death --- pidfd -------------------
      job.end(...) <-- on_ended callback ---|
                                             deadlines: SIGKILL to the worker's whole tree

The thread starts all workers, because the kernel's parent-death signal fires when the *thread* that forked
ends. All state is under one lock, which the thread holds whenever it does not wait. A submitting thread tries
the lock: when it gets it and a worker is idle, it sends the call itself, which saves two context switches;
otherwise it leaves the call in the inbox and wakes the thread. It never waits, so an event loop never blocks
here. Ended processes are disposed of on a second thread, because that may block.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import sys
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from typing import Protocol

from gigaexec.calls import WorkerResult
from gigaexec.config import WorkerConfig
from gigaexec.dispatch import process_tree
from gigaexec.dispatch.guard import Guard
from gigaexec.dispatch.job_queue import JobQueue
from gigaexec.dispatch.jobs import EndingKind, Job
from gigaexec.dispatch.worker_handle import WorkerHandle, WorkerPipes, WorkerProcess, WorkerState
from gigaexec.worker.channel import Ready

logger = logging.getLogger(__name__)

StartWorker = Callable[[str], tuple[WorkerProcess, WorkerPipes]]
"""Starts the process of the worker with the given id, on the dispatcher's thread. May raise anything."""

# A pool whose programs never die runs exactly as many workers as calls. Once one had to be killed, this many
# more are kept ready, so that the next replacement does not wait 100 ms for a new interpreter.
_SPARES_AFTER_FIRST_KILL = 1

# epoll counts milliseconds in 32 bits, and a deadline may be infinite.
_LONGEST_WAIT_S = 3600.0

_SHUT_DOWN = "the backend was shut down"


class Belongings(Protocol):
    """What a pool holds beside its workers."""

    def close(self) -> None: ...

    def close_after_fork(self) -> None: ...


class Dispatcher:
    """A pool of workers with a queue, from its creation to `stop`.

    Args:
        config: How many workers, and when they are replaced.
        start_worker: Starts a process.
        belongings: Closed when the last worker is gone (the spill directory).
    """

    def __init__(self, config: WorkerConfig, start_worker: StartWorker, belongings: Belongings) -> None:
        self._config = config
        self._max_busy = config.worker_count
        self._start_worker = start_worker
        self._belongings = belongings
        self._lock = threading.Lock()
        self._planned_wake = 0.0
        self._inbox: deque[Callable[[], None]] = deque()
        self._inbox_lock = threading.Lock()
        self._is_awake = False
        self._selector = selectors.DefaultSelector()
        try:
            self._wake_reader, self._wake_writer = os.pipe()
        except OSError:
            self._selector.close()
            raise
        self._queue = JobQueue()
        self._workers: set[WorkerHandle] = set()
        self._idle: list[WorkerHandle] = []
        self._spares = 0
        self._guard: Guard | None = None
        self._is_stopping = False
        self._has_ended = threading.Event()
        self._disposals: queue.SimpleQueue[WorkerProcess | None] = queue.SimpleQueue()
        name = f"gigaexec-{config.pool_id}"
        self._disposer = threading.Thread(target=self._dispose_all, name=f"{name}-disposer", daemon=True)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._disposer.start()
            self._thread.start()
        except RuntimeError:  # the system refuses a thread
            self._disposals.put(None)
            self._close_descriptors()
            raise
        _live_dispatchers.add(self)

    # Any thread.

    def submit(self, job: Job) -> None:
        """Queue a job. Its `on_ended` is called exactly once, also when the pool stops. Never blocks."""
        # Not past commands that wait in the inbox: jobs are served in the order they came.
        if self._inbox or not self._lock.acquire(blocking=False):
            self._tell(lambda: self._accept(job))
            return
        try:
            self._accept(job)
            self._give_out()
            needs_thread = self._lacks_workers() or self._next_expiry() < self._planned_wake
        finally:
            self._lock.release()
        if needs_thread:
            self._tell(_wake_up)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or kill the worker that runs it; it ends as cancelled."""
        self._tell(lambda: self._cancel(job))

    def stop(self) -> None:
        """Cancel all jobs, end all workers and close the belongings. Returns at once; twice is safe."""
        self._tell(self._begin_stop)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` is done: no worker process, no thread, no spill file is left.

        Returns:
            Whether it is done.
        """
        if not self._has_ended.wait(timeout_s):
            return False
        self._thread.join()
        self._disposer.join()
        return True

    def close_after_fork(self) -> None:
        """In a forked child: close what was inherited: the workers' life hangs on the parent alone."""
        for worker in self._workers:
            worker.close_after_fork()
        self._close_descriptors()
        self._belongings.close_after_fork()
        if self._guard is not None:
            self._guard.close_after_fork()

    def _tell(self, command: Callable[[], None]) -> None:
        with self._inbox_lock:
            self._inbox.append(command)
            has_ended = self._has_ended.is_set()
            if not self._is_awake and not has_ended:
                self._is_awake = True  # one byte does for any number of commands
                os.write(self._wake_writer, b"\0")
        if has_ended:
            self._run_commands()  # only to say that the pool was shut down

    def _close_descriptors(self) -> None:
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    # The dispatcher's thread.

    def _run(self) -> None:
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)
        try:
            while not (self._is_stopping and not self._workers):
                ready = self._selector.select(self._plan_wake())
                with self._lock:
                    for key, events in ready:
                        key.data(key.fd, events)
                    self._give_out()  # before the timers: a queue_timeout_s of 0 takes a worker that is free
                    self._run_timers()
                    self._start_missing_workers()
        except BaseException:
            logger.critical("the dispatcher of pool %s failed", self._config.pool_id, exc_info=True)
            self._begin_stop()
            raise
        finally:
            self._end()

    def _on_wake(self, descriptor: int, _: int) -> None:
        with self._inbox_lock:
            os.read(descriptor, 1)
            self._is_awake = False
        self._run_commands()

    def _run_commands(self) -> None:
        while True:
            try:
                command = self._inbox.popleft()
            except IndexError:
                return
            command()

    def _accept(self, job: Job) -> None:
        if self._is_stopping:
            job.end(EndingKind.CANCELLED, message=_SHUT_DOWN)
            return
        self._queue.add(job)

    def _cancel(self, job: Job) -> None:
        worker = next((worker for worker in self._workers if worker.job is job), None)
        if worker is None:
            job.end(EndingKind.CANCELLED, message="the call was cancelled")
        else:
            self._kill(worker, EndingKind.CANCELLED, "the call was cancelled")

    def _begin_stop(self) -> None:
        self._is_stopping = True
        while self._queue.end_first(EndingKind.CANCELLED, _SHUT_DOWN):
            pass
        for worker in tuple(self._workers):
            self._kill(worker, EndingKind.CANCELLED, _SHUT_DOWN)

    def _end(self) -> None:
        _ending_dispatchers.add(self)
        _live_dispatchers.discard(self)  # before any close: a forked child must not close a reused number
        for worker in tuple(self._workers):  # only after a failure of this thread itself
            if worker.job is not None:
                worker.job.end(EndingKind.CANCELLED, message="the dispatcher of the pool failed")
            worker.close()
            self._disposals.put(worker.process)
        self._disposals.put(None)
        self._belongings.close()
        if self._guard is not None:
            self._guard.close()
        with self._inbox_lock:
            self._has_ended.set()
        self._run_commands()
        self._close_descriptors()

    # Giving out calls.

    def _give_out(self) -> None:
        while self._idle and self._count(WorkerState.BUSY) < self._max_busy:
            job = self._queue.take()
            if job is None:
                return
            self._idle.pop().send(job)

    def _count(self, state: WorkerState) -> int:
        return sum(worker.state is state for worker in self._workers)

    def _start_missing_workers(self) -> None:
        while not self._is_stopping and self._lacks_workers():
            alive = self._count_alive()
            if not self._start_one(is_last_hope=alive == 0) and alive > 0:
                return  # those that live go on with the queue; the next event tries again

    def _lacks_workers(self) -> bool:
        busy = self._count(WorkerState.BUSY)
        wanted = min(self._max_busy, busy + self._queue.count_up_to(self._max_busy))
        return wanted > 0 and self._count_alive() < wanted + self._spares

    def _count_alive(self) -> int:
        return len(self._workers) - self._count(WorkerState.DYING)

    def _start_one(self, *, is_last_hope: bool) -> bool:
        worker_id = uuid.uuid4().hex[:12]
        try:
            self._guarded(worker_id)
            process, pipes = self._start_worker(worker_id)
        except Exception as error:  # whatever the system refuses: descriptors, processes, memory
            logger.warning("pool %s: no worker could be started", self._config.pool_id, exc_info=True)
            if is_last_hope:
                self._fail_oldest(f"a worker process could not be started: {type(error).__name__}: {error}")
            return False
        worker = WorkerHandle(
            worker_id,
            process,
            pipes,
            self._selector,
            self._config.captured_output_bytes,
            self._on_message,
            self._on_death,
        )
        self._workers.add(worker)
        return True

    def _guarded(self, worker_id: str) -> None:
        if self._guard is None and sys.platform == "linux":
            self._guard = Guard()
        if self._guard is not None:
            self._guard.watch(worker_id)

    def _fail_oldest(self, message: str) -> None:
        """End one waiting call: a pool whose workers do not start neither hangs nor gives up on all."""
        self._queue.end_first(EndingKind.NOT_STARTED, message)

    # What workers do.

    def _on_message(self, worker: WorkerHandle, message: Ready | WorkerResult) -> None:
        if isinstance(message, Ready):
            self._on_ready(worker, message)
        elif worker.state is WorkerState.BUSY and worker.job is not None:
            self._on_result(worker, worker.job, message)

    def _on_ready(self, worker: WorkerHandle, message: Ready) -> None:
        for warning in message.warnings:
            logger.warning("pool %s: worker %s: %s", self._config.pool_id, worker.worker_id, warning)
        if worker.state is WorkerState.STARTING:
            worker.ready_at = time.monotonic()
            self._make_idle(worker)

    def _on_result(self, worker: WorkerHandle, job: Job, result: WorkerResult) -> None:
        worker.job = None
        worker.calls_done += 1
        job.end(EndingKind.ANSWERED, result=result, output=worker.captured_output())
        reason = result.retire_reason
        if not reason and worker.calls_done == self._config.max_calls_per_worker:
            reason = f"it has run {worker.calls_done} calls"
        if reason:
            logger.debug("pool %s: worker %s is replaced: %s", self._config.pool_id, worker.worker_id, reason)
            self._spares = _SPARES_AFTER_FIRST_KILL
            worker.kill()
        else:
            self._make_idle(worker)

    def _make_idle(self, worker: WorkerHandle) -> None:
        worker.state = WorkerState.IDLE
        worker.idle_since = time.monotonic()
        # Last in, first out: the worker whose caches are warm goes on, the others may end of idleness.
        self._idle.append(worker)

    def _kill(self, worker: WorkerHandle, kind: EndingKind, message: str = "") -> None:
        if worker.state is WorkerState.DYING:
            return  # what was said first holds
        worker.death = kind, message
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.state is WorkerState.BUSY:
            self._spares = _SPARES_AFTER_FIRST_KILL
        worker.kill()

    def _on_death(self, worker: WorkerHandle) -> None:
        if worker.state is not WorkerState.DYING:
            # It ended by itself, and what it had started belongs to init by now.
            process_tree.kill_orphans({worker.worker_id})
        if worker.state is WorkerState.BUSY:
            self._spares = _SPARES_AFTER_FIRST_KILL
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        output = worker.captured_output()
        exit_code = worker.process.exit_code()
        worker.close()
        self._disposals.put(worker.process)
        if self._guard is not None:
            self._guard.unwatch(worker.worker_id)
        kind, message = worker.death
        if worker.job is not None and self._may_go_back(worker, worker.job):
            self._queue.put_back(worker.job)
        elif worker.job is not None:
            worker.job.end(kind, exit_code=exit_code, message=message or worker.fault, output=output)
        elif worker.state is WorkerState.STARTING or kind is EndingKind.NOT_STARTED:
            facts = message or f"a worker process ended with exit code {exit_code} while it started"
            self._fail_oldest(f"{facts}\n{output.as_report()}".rstrip())

    @staticmethod
    def _may_go_back(worker: WorkerHandle, job: Job) -> bool:
        """Whether a job whose worker died can wait for another one.

        Only when the worker cannot have run it, because it never read the whole of it: an idle worker was
        killed from outside. And only once: receiving huge arguments may itself be what kills workers.
        """
        kind, _ = worker.death
        never_ran = job.started_at is None or worker.left_call_unread
        return kind is EndingKind.WORKER_DIED and never_ran and not job.was_put_back

    # Timers.

    def _run_timers(self) -> None:
        now = time.monotonic()
        self._queue.expire(now)
        for worker in tuple(self._workers):
            if self._expiry(worker) <= now:
                self._expire(worker)

    def _plan_wake(self) -> float:
        """Choose how long to wait at most, in seconds.

        A planned moment is kept although the call that it was for has ended. So in a steady stream of calls a
        submitting thread finds that the dispatcher wakes early enough anyway, and need not wake it.
        """
        with self._lock:
            now = time.monotonic()
            first = self._next_expiry()
            self._planned_wake = min(first, self._planned_wake) if self._planned_wake > now else first
            return min(max(0.0, self._planned_wake - now), _LONGEST_WAIT_S)

    def _next_expiry(self) -> float:
        return min([self._queue.first_expiry(), *map(self._expiry, self._workers)])

    def _expiry(self, worker: WorkerHandle) -> float:
        if worker.state is WorkerState.STARTING:
            return worker.started_at + self._config.start_timeout_s
        if worker.state is WorkerState.IDLE:
            return worker.idle_since + self._config.idle_timeout_s
        if worker.state is WorkerState.BUSY and worker.job is not None:
            if worker.job.started_at is not None:
                return worker.job.started_at + worker.job.deadline_s
            if worker.job.dispatched_at is not None:
                return worker.job.dispatched_at + self._config.start_timeout_s
        return float("inf")

    def _expire(self, worker: WorkerHandle) -> None:
        limit_s = self._config.start_timeout_s
        if worker.state is WorkerState.STARTING:
            self._kill(worker, EndingKind.NOT_STARTED, f"a worker process did not start within {limit_s:g} s")
        elif worker.state is WorkerState.IDLE:
            self._kill(worker, EndingKind.CANCELLED)
        elif worker.job is not None and worker.job.started_at is not None:
            self._kill(worker, EndingKind.TIMED_OUT)
        else:
            message = f"an idle worker did not take the call within {limit_s:g} s"
            self._kill(worker, EndingKind.NOT_STARTED, message)

    # The disposer's thread.

    def _dispose_all(self) -> None:
        while (process := self._disposals.get()) is not None:
            try:
                process.dispose()
            except Exception:  # the process is dead; what is left is the library's own bookkeeping
                logger.warning("pool %s: clean-up after a worker failed", self._config.pool_id, exc_info=True)


def _wake_up() -> None:
    """A command that does nothing beyond waking the thread."""


# A dispatcher lives as long as its threads, also when nobody else refers to it any more.
_live_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_ending_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def stop_all(timeout_s: float) -> None:
    """Stop every pool of this process, one whose backend is forgotten included, and wait for their ends.

    Args:
        timeout_s: How long to wait at most for each.
    """
    dispatchers = {*_live_dispatchers, *_ending_dispatchers}
    for dispatcher in dispatchers:
        dispatcher.stop()
    for dispatcher in dispatchers:
        dispatcher.join(timeout_s)


def _close_all_after_fork() -> None:
    for dispatcher in tuple(_live_dispatchers):
        dispatcher.close_after_fork()
    _live_dispatchers.clear()
    _ending_dispatchers.clear()


os.register_at_fork(after_in_child=_close_all_after_fork)
