"""The thread that owns a pool of workers.

    any thread, any event loop             dispatcher thread                          worker processes
      submit(job) ---- queue --------------> first in, first out
          |                                 | starts and ends workers
          |------ call, to an idle worker --|---- call ---- socket -----------------> one call at a time
                                            |<--- result -- socket ------------------
                                            |<--- output -- two pipes ---------------
                                            |<--- death --- pidfd -------------------
      job.end(...) <-- on_ended callback ---|
                                             deadlines: SIGKILL to the worker's whole tree

The dispatcher thread starts all workers, because the kernel sends the parent-death signal when the *thread*
that forked a process ends. One lock protects all state; the dispatcher thread holds the lock except while it
waits for events or does the parts of a kill. `submit` tries to take the lock without waiting, so it never
blocks an event loop. If the lock is free, the submitting thread queues the call; if a worker is idle, the
same thread also sends the call, which saves two context switches. The dispatcher thread does what takes
longer: the sample before a call with limits, the rest of a long call, the kill of a worker that cannot be
sent a call. If the lock is taken, the call goes to the inbox, and the dispatcher thread queues the call. A
second thread, the disposer, releases the resources of ended processes, because this may block.
"""

from __future__ import annotations

import functools
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
from gigaexec.pool.failure_log import log_failure
from gigaexec.pool.inbox import Inbox
from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.supervision.kills import Kill, Kills
from gigaexec.pool.supervision.limit_watch import LimitWatch
from gigaexec.pool.supervision.running_call import must_sample_before
from gigaexec.pool.watches import Watched
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_events import WorkerEvents
from gigaexec.pool.worker_handle import WorkerHandle
from gigaexec.pool.worker_process import Disposer, WorkerStarter
from gigaexec.pool.workers import Workers

logger = logging.getLogger(__name__)

# Longest wait for events. epoll_wait takes milliseconds as a 32-bit integer, and a deadline may be infinite.
_LONGEST_WAIT_S = 3600.0

# Interval for polling processes without a pidfd: the kernel does not report when they end.
_POLL_S = 0.05

_SHUT_DOWN = "the backend was shut down"
_CANCELLED = "the call was cancelled"


class PoolResources(Protocol):
    """Files and descriptors that a pool holds in addition to its workers."""

    def close(self) -> None: ...

    def close_after_fork(self) -> None: ...


class Dispatcher:
    """The queue and the workers of one pool, with the thread that serves them, from creation to `stop`.

    Args:
        config: Configuration of the workers.
        starter: Starts the worker processes.
        resources: Files of the pool, such as the spill directory. Closed after the last worker has ended.
        hooks: Called when a worker starts or ends.

    Raises:
        OSError: No descriptor is free.
        RuntimeError: No thread can be started.
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
        self._kills = Kills()
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
                kills=self._kills,
                hooks=hooks,
            )
            self._staffing = self._events.staffing
            self._limit_watch = LimitWatch(self._events.on_limit_of_call)
            try:
                self._thread.start()
            except RuntimeError:
                self._disposer.close()
                raise
        except RuntimeError:  # no thread can be started
            self._selector.close()
            self._inbox.close_pipe()
            raise
        live_pools.add(self)

    # Methods for any thread.

    def submit(self, job: Job) -> None:
        """Queue a job, and send it if a worker is idle. Never blocks.

        The job's `on_ended` is called exactly once, even if the pool stops. If the pool has stopped already,
        this thread calls it.
        """
        # If commands wait in the inbox, the job must wait behind them: jobs are served in order of arrival.
        if self._inbox or not self._lock.acquire(blocking=False):
            self._tell(lambda: self._accept(job))
            return
        try:
            self._accept(job)
            needs_thread = (
                not self._give_out(may_sample=False)
                or self._staffing.lacks_workers()
                or self._next_expiry() < self._planned_wake
            )
        finally:
            self._lock.release()
        if needs_thread:
            self._inbox.wake()

    def cancel(self, job: Job) -> None:
        """End a job with `EndingKind.CANCELLED`. If a worker runs the job, the worker is killed first."""
        self._tell(lambda: self._cancel(job))

    def stop(self) -> None:
        """Cancel all jobs, end all workers and close the resources. Returns at once. Safe to call twice."""
        self._tell(self._begin_stop)

    @property
    def failure(self) -> str:
        """The error that stopped the dispatcher, so that the pool can run no more calls; "" if none did."""
        return self._failure

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` is complete: no worker process, thread or spill file is left.

        Args:
            timeout_s: Longest time to wait, in seconds; None waits without limit.

        Returns:
            True if the pool has stopped, or if this is a forked child. False if `timeout_s` passed first.
        """
        if self._is_foreign:
            return True
        if not self._has_ended.wait(timeout_s):
            return False
        self._thread.join()
        self._disposer.join()
        return True

    def hold_before_fork(self, timeout_s: float) -> bool:
        """Wait until the dispatcher's thread is between two steps, and keep it there.

        Returns:
            True if `release_after_fork` must be called. False if `timeout_s` passed first, or if the
            dispatcher's thread itself forks.
        """
        if threading.current_thread() is self._thread:  # a hook forks
            return False
        return self._lock.acquire(timeout=timeout_s)

    def release_after_fork(self) -> None:
        """Let the dispatcher's thread continue in the parent."""
        self._lock.release()

    def close_after_fork(self) -> None:
        """Close the inherited descriptors in a forked child, so that the workers end when the parent ends."""
        # The lock is not taken, here or later in the child: if `hold_before_fork` failed, another thread held
        # the lock at the fork.
        self._is_foreign = True
        for worker in self._workers:
            worker.close_after_fork()
        self._selector.close()
        self._inbox.close_pipe()
        self._staffing.close_after_fork()
        self._resources.close_after_fork()

    def _tell(self, command: Callable[[], None]) -> None:
        if not self._is_foreign:
            self._inbox.put(command)

    # Methods for the dispatcher's thread.

    def _run(self) -> None:
        self._selector.register(self._inbox.reader, selectors.EVENT_READ, Watched(None, self._inbox.on_wake))
        try:
            while not (self._is_stopping and not self._workers):
                ready = self._selector.select(self._plan_wake())
                with self._lock:
                    self._report_kills()
                    for key, events in ready:
                        watched: Watched = key.data
                        self._serve(watched.worker, functools.partial(watched.callback, key.fd, events))
                    # Before the timers: otherwise a job with queue_timeout_s = 0 would expire before it could
                    # get an idle worker, or cause the start of a worker.
                    self._give_out(may_sample=True)
                    self._staffing.start_missing()
                    self._run_timers()
                if self._kills.next_at <= time.monotonic():
                    self._kills.do_parts()
        except BaseException as error:
            pool_id = self._config.pool_id
            log_failure(logger, logging.CRITICAL, error, "the dispatcher of pool %s failed", pool_id)
            self._failure = f"the dispatcher of pool {pool_id} failed: {type(error).__name__}: {error}"
            self._is_stopping = True
            raise
        finally:
            self._end()

    def _serve(self, worker: object, callback: Callable[[], None]) -> None:
        """Run the callback of one event. If it raises, and the event is a worker's, that worker is killed."""
        try:
            callback()
        except Exception as error:
            if not isinstance(worker, WorkerHandle) or worker.is_closed:
                raise
            log_failure(
                logger,
                logging.ERROR,
                error,
                "pool %s: handling an event of worker %s failed; the worker is killed",
                self._config.pool_id,
                worker.worker_id,
            )
            has_run = worker.call is not None and worker.call.job.started_at is not None
            kind = EndingKind.ANSWER_LOST if has_run else EndingKind.NOT_STARTED
            text = "the driver failed to handle an event of the worker (see the driver's log)"
            self._events.kill(worker, Death(kind, text))

    def _report_kills(self) -> None:
        if self._kills.next_at != float("inf"):
            for kill in self._kills.take_done():
                self._serve(kill.worker, kill.report)
            self._kills.plan()

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
        # Workers are left only if this thread failed. A worker dies when its lifeline is closed.
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
        self._disposer.join()  # two threads must not remove the same scratch folder at once
        self._resources.close()
        self._staffing.orphans.close()
        self._selector.close()
        self._inbox.close(when_closed=self._has_ended.set)

    # Sending queued calls to idle workers.

    def _give_out(self, *, may_sample: bool) -> bool:
        """Send queued calls to idle workers.

        Args:
            may_sample: True on the dispatcher's thread. False on a submitting thread, which must not take the
                sample that some calls need before they start.

        Returns:
            False if a call waits for an idle worker, because it needs a sample.
        """
        busy = self._workers.count(WorkerState.BUSY)
        if self._is_full and busy < self._max_busy:
            self._is_full = False
            self._not_full_since = time.monotonic()
        while busy < self._max_busy and (worker := self._workers.next_idle()) is not None:
            job = self._queue.first()
            if job is None:
                return True
            if must_sample_before(job, worker.supervised) and not may_sample:
                return False
            self._queue.take()
            self._workers.unidle(worker)
            worker.send(job, self._not_full_since)
            self._limit_watch.begin(job)
            self._staffing.on_call_taken(worker)
            busy = self._workers.count(WorkerState.BUSY)
        self._is_full = busy >= self._max_busy
        return True

    # Timers.

    def _run_timers(self) -> None:
        now = time.monotonic()
        free = self._max_busy - self._workers.count(WorkerState.BUSY)
        self._queue.expire(now, min(free, self._workers.count(WorkerState.STARTING)))
        for worker in self._workers:
            if worker in self._workers and worker.must_be_polled:
                self._serve(worker, worker.poll)
            if worker in self._workers and worker.expiry() <= now:
                self._serve(worker, functools.partial(self._events.expire, worker))
        if self._limit_watch.next_sample_at <= now:
            self._limit_watch.sample(self._workers.running_calls())
        if self._staffing.orphans.next_try_at <= now:
            for killing in self._staffing.orphans.retry():
                self._kills.start(Kill(None, killing, _ignore_result))

    def _plan_wake(self) -> float:
        """Plan the next wake-up. Returns the longest time to wait for events, in seconds.

        A wake-up that was planned for a call's deadline is kept if the call ends early. In a steady stream of
        calls, a wake-up is then already planned before the deadline of each new call, so the submitting
        thread need not wake the dispatcher.
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
            self._kills.next_at,
            time.monotonic() + _POLL_S if polling else float("inf"),
            *(worker.expiry() for worker in self._workers),
        )


def _ignore_result(_: bool) -> None:
    pass
