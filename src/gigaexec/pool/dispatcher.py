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
the lock: when it gets the lock and a worker is idle, it sends the call itself, which saves two context
switches; otherwise it leaves the call in the inbox and wakes the thread. It never waits, so an event loop
never blocks here. Ended processes are disposed of on a second thread, because that may block.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections.abc import Callable
from typing import Protocol

from gigaexec.config import WorkerConfig
from gigaexec.hooks import HookDispatcher
from gigaexec.pool import live_pools
from gigaexec.pool.endings.ending import Death
from gigaexec.pool.inbox import Inbox
from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.supervision.limit_watch import LimitWatch
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_events import WorkerEvents
from gigaexec.pool.worker_handle import WorkerHandle
from gigaexec.pool.worker_process import Disposer, WorkerStarter
from gigaexec.pool.workers import Workers

logger = logging.getLogger(__name__)

# epoll counts milliseconds in 32 bits, and a deadline may be infinite.
_LONGEST_WAIT_S = 3600.0

# How often to check for the end of a process that the kernel does not report.
_POLL_S = 0.05

_SHUT_DOWN = "the backend was shut down"
_CANCELLED = "the call was cancelled"


class PoolResources(Protocol):
    """Files and descriptors that a pool holds in addition to its workers."""

    def close(self) -> None: ...

    def close_after_fork(self) -> None: ...


class Dispatcher:
    """A pool of workers with a queue, from its creation to `stop`.

    Args:
        config: Number of workers, and when they are replaced.
        starter: Starts the processes.
        resources: Closed when the last worker is gone (the spill directory).
        hooks: Called at the start and end of each worker.

    Raises:
        OSError: No descriptor is free.
        RuntimeError: The system refuses a thread.
    """

    def __init__(
        self, config: WorkerConfig, starter: WorkerStarter, resources: PoolResources, hooks: HookDispatcher
    ) -> None:
        self._config = config
        self._max_busy = config.worker_count
        self._resources = resources
        self._lock = threading.Lock()
        self._planned_wake = 0.0
        self._is_full = False
        self._not_full_since = 0.0
        self._is_stopping = False
        self._failure = ""
        self._is_foreign = False
        self._has_ended = threading.Event()
        self._queue = JobQueue()
        self._workers = Workers()
        self._selector = selectors.DefaultSelector()
        try:
            self._inbox = Inbox()
        except OSError:
            self._selector.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"gigaexec-{config.pool_id}", daemon=True)
        try:
            self._disposer = Disposer(config.pool_id)
            self._events = WorkerEvents(
                config,
                starter,
                workers=self._workers,
                jobs=self._queue,
                disposer=self._disposer,
                selector=self._selector,
                hooks=hooks,
            )
            self._staffing = self._events.staffing
            self._limit_watch = LimitWatch(self._events.on_limit_of_call)
            try:
                self._thread.start()
            except RuntimeError:
                self._disposer.close()
                raise
        except RuntimeError:  # the system refuses a thread
            self._selector.close()
            self._inbox.close_pipe()
            raise
        live_pools.add(self)

    # Any thread.

    def submit(self, job: Job) -> None:
        """Queue a job. Its `on_ended` is called exactly once, also when the pool stops. Never blocks."""
        # Never ahead of commands that wait in the inbox: jobs are served in the order of their arrival.
        if self._inbox or not self._lock.acquire(blocking=False):
            self._tell(lambda: self._accept(job))
            return
        try:
            self._accept(job)
            self._give_out()
            needs_thread = self._staffing.lacks_workers() or self._next_expiry() < self._planned_wake
        finally:
            self._lock.release()
        if needs_thread:
            self._inbox.wake()

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or kill the worker that runs it; it ends as cancelled."""
        self._tell(lambda: self._cancel(job))

    def stop(self) -> None:
        """Cancel all jobs, end all workers and close the resources. Returns at once; twice is safe."""
        self._tell(self._begin_stop)

    @property
    def failure(self) -> str:
        """The reason why this pool can run no more calls, or ""."""
        return self._failure

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` is done: no worker process, thread or spill file is left.

        Returns:
            True if it is done, False if `timeout_s` passed first.
        """
        if self._is_foreign:
            return True
        if not self._has_ended.wait(timeout_s):
            return False
        self._thread.join()
        self._disposer.join()
        return True

    def close_after_fork(self) -> None:
        """In a forked child: close the inherited descriptors, so that workers end with the parent alone."""
        self._is_foreign = True  # and take no lock: another thread may have held it at the fork
        for worker in self._workers:
            worker.close_after_fork()
        self._selector.close()
        self._inbox.close_pipe()
        self._staffing.close_after_fork()
        self._resources.close_after_fork()

    def _tell(self, command: Callable[[], None]) -> None:
        if not self._is_foreign:
            self._inbox.put(command)

    # The dispatcher's thread.

    def _run(self) -> None:
        self._selector.register(self._inbox.reader, selectors.EVENT_READ, self._inbox.on_wake)
        try:
            while not (self._is_stopping and not self._workers):
                ready = self._selector.select(self._plan_wake())
                with self._lock:
                    for key, events in ready:
                        self._serve(key.data, key.fd, events)
                    # Before the timers: a queue_timeout_s of 0 takes a worker that is free, or starts one.
                    self._give_out()
                    self._staffing.start_missing()
                    self._run_timers()
        except BaseException as error:
            logger.critical("the dispatcher of pool %s failed", self._config.pool_id, exc_info=True)
            self._failure = f"the dispatcher of the pool failed: {type(error).__name__}: {error}"
            self._is_stopping = True
            raise
        finally:
            self._end()

    def _serve(self, callback: Callable[[int, int], None], descriptor: int, events: int) -> None:
        """Serve one event. A failure with one worker ends that worker alone."""
        try:
            callback(descriptor, events)
        except Exception:
            worker = getattr(callback, "__self__", None)
            if not isinstance(worker, WorkerHandle) or worker.is_closed:
                raise
            logger.exception("pool %s: worker %s is killed", self._config.pool_id, worker.worker_id)
            has_run = worker.call is not None and worker.call.job.started_at is not None
            kind = EndingKind.ANSWER_LOST if has_run else EndingKind.NOT_STARTED
            self._events.kill(worker, Death(kind, "the driver could not serve the call's worker"))

    def _accept(self, job: Job) -> None:
        if self._failure:
            job.end(Ending(EndingKind.POOL_FAILED, message=self._failure))
        elif self._is_stopping:
            job.end(Ending(EndingKind.CANCELLED, message=_SHUT_DOWN))
        else:
            self._queue.add(job)

    def _cancel(self, job: Job) -> None:
        worker = self._workers.running(job)
        if worker is None:
            job.end(Ending(EndingKind.CANCELLED, message=_CANCELLED))
        else:
            self._events.kill(worker, Death(EndingKind.CANCELLED, _CANCELLED))

    def _begin_stop(self) -> None:
        self._is_stopping = True
        self._staffing.stop()
        while self._queue.end_first(EndingKind.CANCELLED, _SHUT_DOWN):
            pass
        for worker in self._workers:
            self._events.kill(worker, Death(EndingKind.CANCELLED, _SHUT_DOWN))

    def _end(self) -> None:
        live_pools.begin_end(self)
        # Only after a failure of this thread itself: the workers die as their lifelines close.
        for worker in self._workers:
            if worker.call is not None:
                worker.call.job.end(Ending(EndingKind.POOL_FAILED, message=self._failure))
            worker.close()
            self._disposer.dispose_of(worker.process)
        kind = EndingKind.POOL_FAILED if self._failure else EndingKind.CANCELLED
        while self._queue.end_first(kind, self._failure or _SHUT_DOWN):
            pass
        self._staffing.close()
        self._disposer.close()
        self._disposer.join()  # otherwise both might remove the same files
        self._resources.close()
        self._staffing.orphans.close()
        self._selector.close()
        self._inbox.close(when_closed=self._has_ended.set)

    # Giving out calls.

    def _give_out(self) -> None:
        busy = self._workers.count(WorkerState.BUSY)
        if self._is_full and busy < self._max_busy:
            self._is_full = False
            self._not_full_since = time.monotonic()
        while busy < self._max_busy and (worker := self._workers.next_idle()) is not None:
            job = self._queue.take()
            if job is None:
                return
            self._workers.unidle(worker)
            worker.send(job, self._not_full_since)
            self._limit_watch.begin(job)
            self._staffing.on_call_taken(worker)
            busy = self._workers.count(WorkerState.BUSY)
        self._is_full = busy >= self._max_busy

    # Timers.

    def _run_timers(self) -> None:
        now = time.monotonic()
        free = self._max_busy - self._workers.count(WorkerState.BUSY)
        self._queue.expire(now, min(free, self._workers.count(WorkerState.STARTING)))
        for worker in self._workers:
            if worker in self._workers and worker.must_be_polled:
                worker.poll()
            if worker in self._workers and worker.expiry() <= now:
                self._events.expire(worker)
        if self._limit_watch.next_sample_at <= now:
            self._limit_watch.sample(self._workers.running_calls())
        if self._staffing.orphans.next_try_at <= now:
            self._staffing.orphans.retry()

    def _plan_wake(self) -> float:
        """Choose how long to wait at most, in seconds.

        A planned wake-up is kept when its call ends early. In a steady stream of calls, the dispatcher is
        then due to wake before the deadline of the next call, and the submitting thread need not wake it.
        """
        with self._lock:
            now = time.monotonic()
            first = self._next_expiry()
            self._planned_wake = min(first, self._planned_wake) if self._planned_wake > now else first
            return min(max(0.0, self._planned_wake - now), _LONGEST_WAIT_S)

    def _next_expiry(self) -> float:
        polling = any(worker.must_be_polled for worker in self._workers)
        return min(
            self._queue.first_expiry(),
            self._limit_watch.next_sample_at,
            self._staffing.next_start_at,
            self._staffing.orphans.next_try_at,
            time.monotonic() + _POLL_S if polling else float("inf"),
            *(worker.expiry() for worker in self._workers),
        )
