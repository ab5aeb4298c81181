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
import queue
import selectors
import threading
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from gigaexec.calls import LimitHit
from gigaexec.config import WorkerConfig
from gigaexec.errors import WorkerStartError
from gigaexec.hooks import HookDispatcher
from gigaexec.pool import live_pools
from gigaexec.pool.endings.credibility import Answer
from gigaexec.pool.endings.ending import ending_by_answer, ending_by_death, may_go_back
from gigaexec.pool.inbox import Inbox
from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import Ending, EndingKind, Job
from gigaexec.pool.starters.contract import WorkerProcess, WorkerSource
from gigaexec.pool.starters.start_failures import StartFailures, shortage_behind
from gigaexec.pool.supervision.limit_watch import LimitWatch
from gigaexec.pool.supervision.orphans import Orphans
from gigaexec.pool.worker_handle import WorkerHandle, WorkerState
from gigaexec.wire.messages import Ready

logger = logging.getLogger(__name__)

# A pool whose programs never die runs exactly as many workers as calls. Once one had to be killed, this many
# more are kept ready, so that the next replacement does not wait 100 ms for a new interpreter.
_SPARES_AFTER_FIRST_KILL = 1

# epoll counts milliseconds in 32 bits, and a deadline may be infinite.
_LONGEST_WAIT_S = 3600.0

# How often to look for the end of a process where the kernel does not tell.
_POLL_S = 0.05

_SHUT_DOWN = "the backend was shut down"


class Belongings(Protocol):
    """What a pool holds beside its workers."""

    def close(self) -> None: ...

    def close_after_fork(self) -> None: ...


class Dispatcher:
    """A pool of workers with a queue, from its creation to `stop`.

    Args:
        config: How many workers, and when they are replaced.
        source: Starts the processes.
        belongings: Closed when the last worker is gone (the spill directory).
        hooks: Told of starts and ends of workers.
    """

    def __init__(
        self, config: WorkerConfig, source: WorkerSource, belongings: Belongings, hooks: HookDispatcher
    ) -> None:
        self._config = config
        self._max_busy = config.worker_count
        self._source = source
        self._belongings = belongings
        self._hooks = hooks
        self._lock = threading.Lock()
        self._planned_wake = 0.0
        self._selector = selectors.DefaultSelector()
        try:
            self._inbox = Inbox()
        except OSError:
            self._selector.close()
            raise
        self._queue = JobQueue()
        self._workers: set[WorkerHandle] = set()
        self._idle: list[WorkerHandle] = []
        self._spares = source.spares
        self._owes_spares = False
        self._orphans = Orphans(has_guard=source.leaves_orphans)
        self._limit_watch = LimitWatch(self._on_limit)
        self._failures = StartFailures(config.start_timeout_s)
        self._last_start_error = ""
        self._is_full = False
        self._not_full_since = 0.0
        self._must_start_more = False
        self._is_stopping = False
        self._failure = ""
        self._is_foreign = False
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
            self._selector.close()
            self._inbox.close_pipe()
            raise
        live_pools.add(self)

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
            self._inbox.wake()

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or kill the worker that runs it; it ends as cancelled."""
        self._tell(lambda: self._cancel(job))

    def stop(self) -> None:
        """Cancel all jobs, end all workers and close the belongings. Returns at once; twice is safe."""
        self._tell(self._begin_stop)

    @property
    def failure(self) -> str:
        """Why this pool can run no more calls, or ""."""
        return self._failure

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until `stop` is done: no worker process, no thread, no spill file is left.

        Returns:
            Whether it is done.
        """
        if self._is_foreign:
            return True
        if not self._has_ended.wait(timeout_s):
            return False
        self._thread.join()
        self._disposer.join()
        return True

    def close_after_fork(self) -> None:
        """In a forked child: close what was inherited: the workers' life hangs on the parent alone."""
        self._is_foreign = True  # no lock may be touched either: another thread may have held it at the fork
        for worker in self._workers:
            worker.close_after_fork()
        self._selector.close()
        self._inbox.close_pipe()
        self._source.close_after_fork()
        self._belongings.close_after_fork()
        self._orphans.close_after_fork()

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
                    self._start_missing_worker()
                    self._run_timers()
        except BaseException as error:
            logger.critical("the dispatcher of pool %s failed", self._config.pool_id, exc_info=True)
            self._failure = f"the dispatcher of the pool failed: {type(error).__name__}: {error}"
            self._is_stopping = True
            raise
        finally:
            self._end()

    def _serve(self, callback: Callable[[int, int], None], descriptor: int, events: int) -> None:
        """Serve one event. What goes wrong with one worker ends that worker alone."""
        try:
            callback(descriptor, events)
        except Exception:
            worker = getattr(callback, "__self__", None)
            if not isinstance(worker, WorkerHandle) or worker.is_closed:
                raise
            logger.exception("pool %s: worker %s is killed", self._config.pool_id, worker.worker_id)
            has_run = worker.job is not None and worker.job.started_at is not None
            kind = EndingKind.ANSWER_LOST if has_run else EndingKind.NOT_STARTED
            self._kill(worker, kind, "the driver could not serve the call's worker")

    def _accept(self, job: Job) -> None:
        if self._failure:
            job.end(Ending(EndingKind.POOL_FAILED, message=self._failure))
            return
        if self._is_stopping:
            job.end(Ending(EndingKind.CANCELLED, message=_SHUT_DOWN))
            return
        self._queue.add(job)

    def _cancel(self, job: Job) -> None:
        worker = next((worker for worker in self._workers if worker.job is job), None)
        if worker is None:
            job.end(Ending(EndingKind.CANCELLED, message="the call was cancelled"))
        else:
            self._kill(worker, EndingKind.CANCELLED, "the call was cancelled")

    def _begin_stop(self) -> None:
        self._is_stopping = True
        while self._queue.end_first(EndingKind.CANCELLED, _SHUT_DOWN):
            pass
        for worker in tuple(self._workers):
            self._kill(worker, EndingKind.CANCELLED, _SHUT_DOWN)

    def _end(self) -> None:
        live_pools.begin_end(self)
        # Only after a failure of this thread itself: the workers die as their lifelines close.
        for worker in tuple(self._workers):
            if worker.job is not None:
                worker.job.end(Ending(EndingKind.POOL_FAILED, message=self._failure))
            worker.close()
            self._disposals.put(worker.process)
        kind = EndingKind.POOL_FAILED if self._failure else EndingKind.CANCELLED
        while self._queue.end_first(kind, self._failure or _SHUT_DOWN):
            pass
        self._source.close()
        self._disposals.put(None)
        self._disposer.join()  # it may still be removing what belongings remove
        self._belongings.close()
        self._orphans.close()
        self._selector.close()
        self._inbox.close(when_closed=self._has_ended.set)

    # Giving out calls.

    def _give_out(self) -> None:
        busy = self._count(WorkerState.BUSY)
        if self._is_full and busy < self._max_busy:
            self._is_full = False
            self._not_full_since = time.monotonic()
        while self._idle and busy < self._max_busy:
            worker = self._idle.pop()
            if worker.state is not WorkerState.IDLE:
                continue  # its channel broke; its death is on the way
            job = self._queue.take()
            if job is None:
                self._idle.append(worker)
                return
            worker.send(job, self._not_full_since)
            self._limit_watch.begin(job)
            # Once a call took one, spares are made up for also when no other call waits; not for ever, so
            # that the last ones may end of idleness.
            self._owes_spares = worker.process.is_single_use
            busy = self._count(WorkerState.BUSY)
        self._is_full = busy >= self._max_busy

    def _count(self, state: WorkerState) -> int:
        return sum(worker.state is state for worker in self._workers)

    def _start_missing_worker(self) -> None:
        """Start one worker, not all: results and deadlines are served between two starts."""
        self._must_start_more = False
        if self._is_stopping or not self._lacks_workers():
            return
        if self._failures.next_try_at <= time.monotonic():
            self._start_one()
        self._must_start_more = self._lacks_workers()

    def _lacks_workers(self) -> bool:
        busy = self._count(WorkerState.BUSY)
        wanted = min(self._max_busy, busy + self._queue.count_up_to(self._max_busy))
        lacks = self._count_alive() < wanted + self._spares
        if wanted == 0 and self._owes_spares and not lacks:
            self._owes_spares = False
        return lacks and (wanted > 0 or self._owes_spares)

    def _count_alive(self) -> int:
        return len(self._workers) - self._count(WorkerState.DYING) - self._count(WorkerState.ENDING)

    def _start_one(self) -> None:
        worker_id = uuid.uuid4().hex[:12]
        try:
            self._orphans.expect_from(worker_id)
            worker = self._new_worker(worker_id)
        except Exception as error:  # whatever the system refuses: descriptors, processes, memory
            if repr(error) != self._last_start_error:  # once for each cause: it may be tried again very often
                self._last_start_error = repr(error)
                logger.warning("pool %s: no worker could be started", self._config.pool_id, exc_info=True)
            self._orphans.forget(worker_id)
            shortage = shortage_behind(error)
            cause = error if isinstance(error, WorkerStartError) else shortage or error
            self._on_failed_start(
                f"a worker process could not be started: {type(cause).__name__}: {cause}",
                is_shortage=shortage is not None,
            )
            return
        self._workers.add(worker)

    def _new_worker(self, worker_id: str) -> WorkerHandle:
        process, pipes = self._source.start_worker(worker_id)
        try:
            return WorkerHandle(
                worker_id,
                process,
                pipes,
                self._selector,
                self._config.captured_output_bytes,
                self._config.node_id,
                self._on_message,
                self._on_death,
                self._on_limit,
                sandbox=self._config.sandbox.level,
            )
        except BaseException:  # the user's epoll watches are used up, say
            process.kill(None)
            pipes.close()
            self._source.forget(process)
            self._disposals.put(process)
            raise

    def _on_failed_start(
        self, message: str, *, origin: object = None, is_shortage: bool = False, is_hung: bool = False
    ) -> None:
        """Try again, and end one waiting call if that has failed too often. See `StartFailures.add`."""
        states = {worker.state for worker in self._workers}
        must_tell = self._failures.add(
            goes_on=not states.isdisjoint({WorkerState.IDLE, WorkerState.BUSY, WorkerState.ENDING}),
            others_start=WorkerState.STARTING in states,
            origin=origin,
            is_shortage=is_shortage,
            is_hung=is_hung,
        )
        if must_tell:
            self._owes_spares = False
            self._queue.end_first(EndingKind.NOT_STARTED, message)

    # What workers do.

    def _on_message(self, worker: WorkerHandle, message: Ready | Answer) -> None:
        if isinstance(message, Ready):
            self._on_ready(worker, message)
        elif worker.state is WorkerState.BUSY and worker.job is not None:
            self._on_answer(worker, worker.job, message)
        else:
            message.close()

    def _on_ready(self, worker: WorkerHandle, message: Ready) -> None:
        for warning in message.warnings:
            logger.warning("pool %s: worker %s: %s", self._config.pool_id, worker.worker_id, warning)
        if worker.state is not WorkerState.STARTING:
            return
        if message.problem:
            self._kill(worker, EndingKind.NOT_STARTED, message.problem)
            return
        self._failures.end()
        worker.ready_at = time.monotonic()
        worker.was_ready = True
        self._hooks.worker_started(worker.worker_id, worker.process.pid)
        self._make_idle(worker)

    def _on_answer(self, worker: WorkerHandle, job: Job, answer: Answer) -> None:
        worker.drain_output()
        if worker.state is not WorkerState.BUSY:  # it had written more than it may
            answer.close()
            return
        worker.calls_done += 1
        layout, limit = answer.result.layout, job.limits.result_bytes
        # The worker has looked already, if it was the worker that answered.
        if layout is not None and limit is not None and layout.total_bytes > limit:
            answer.close()
            self._on_limit(worker, LimitHit("result_bytes", limit, layout.total_bytes))
            return
        if worker.process.is_single_use:
            # The job ends when its processes have: see `_on_death`.
            worker.state = WorkerState.ENDING
            worker.answer = answer
            worker.answered_at = time.monotonic()
            job.mark_answered()
            return
        worker.job = None
        ending = ending_by_answer(worker, job, answer)
        reason = answer.result.retire_reason
        if not reason and worker.calls_done == self._config.max_calls_per_worker:
            reason = f"it has run {worker.calls_done} calls"
        if reason:
            logger.debug("pool %s: worker %s is replaced: %s", self._config.pool_id, worker.worker_id, reason)
            self._keep_spare()
            worker.kill()
        else:
            self._make_idle(worker)
        job.end(ending)

    def _on_limit(self, worker: WorkerHandle, hit: LimitHit) -> None:
        worker.hit = hit
        self._kill(worker, EndingKind.LIMIT_HIT)

    def _keep_spare(self) -> None:
        self._spares = max(self._spares, _SPARES_AFTER_FIRST_KILL)

    def _make_idle(self, worker: WorkerHandle) -> None:
        worker.state = WorkerState.IDLE
        worker.idle_since = time.monotonic()
        # Last in, first out: the worker whose caches are warm goes on, the others may end of idleness.
        self._idle.append(worker)

    def _kill(self, worker: WorkerHandle, kind: EndingKind, message: str = "") -> None:
        if worker.state is WorkerState.DYING:
            # What was said first holds; but a call that nobody wants any more must not go back.
            if kind is EndingKind.CANCELLED and worker.death[0] is EndingKind.WORKER_DIED:
                worker.death = kind, message
            return
        worker.death = kind, message
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.state is WorkerState.BUSY:
            self._keep_spare()
            if worker.process.is_single_use:
                worker.sample()  # the last account of what it used
        worker.kill()

    def _on_death(self, worker: WorkerHandle) -> None:
        if worker.job is not None:
            self._keep_spare()
        self._workers.discard(worker)
        self._must_start_more = True  # this may be the last event for long
        if worker in self._idle:
            self._idle.remove(worker)
        worker.drain_output()  # it may hit a limit
        job, (kind, _) = worker.job, worker.death
        exit_code = worker.process.exit_code()
        ending = ending_by_death(worker, job, exit_code)
        worker.close()
        self._source.forget(worker.process)
        self._disposals.put(worker.process)
        if self._source.leaves_orphans:
            # Where it ended by itself, what it had started belongs to init by now.
            self._orphans.end_those_of(worker.worker_id, worker.process.pid, is_tree_dead=worker.is_tree_dead)
        has_idled_out = job is None and kind is EndingKind.CANCELLED
        if has_idled_out and not self._workers and not self._queue.count_up_to(1):
            self._source.rest()
        if worker.was_ready:
            self._hooks.worker_exited(worker.worker_id, worker.process.pid, exit_code)
        if job is not None and may_go_back(worker, job):
            self._queue.put_back(job, counts=not worker.got_nothing_of_call)
        elif job is not None:
            job.end(ending)
        elif not worker.was_ready and not worker.is_given_up and not self._is_stopping:
            self._on_dead_start(worker, exit_code, ending.output.as_report())

    def _on_dead_start(self, worker: WorkerHandle, exit_code: int | None, output: str) -> None:
        """A worker died before it was ready."""
        kind, message = worker.death
        # Known only of what ended with its origin, or was refused by it.
        known = worker.process.failure() if exit_code is None else ""
        is_short = not worker.is_hung and (
            worker.is_short_of_something or worker.process.is_short_of_something()
        )
        facts = message or known or f"a worker process ended with exit code {exit_code} while it started"
        text = f"{facts}\n{output}".rstrip()
        if kind is EndingKind.NOT_STARTED:
            self._queue.end_first(kind, text)  # for good: no other worker can
        else:
            self._on_failed_start(
                text,
                origin=worker.process.origin if worker.is_hung or (known and not is_short) else None,
                is_shortage=is_short,
                is_hung=worker.is_hung,
            )

    # Timers.

    def _run_timers(self) -> None:
        now = time.monotonic()
        free = self._max_busy - self._count(WorkerState.BUSY)
        self._queue.expire(now, min(free, self._count(WorkerState.STARTING)))
        for worker in tuple(self._workers):
            if worker in self._workers and worker.must_be_polled:
                worker.poll()
            if worker in self._workers and worker.expiry(self._config) <= now:
                self._expire(worker)
        if self._limit_watch.next_look_at <= now:
            self._limit_watch.look(self._workers)
        if self._orphans.next_look_at <= now:
            self._orphans.look_again()

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
        next_start = self._failures.next_try_at if self._must_start_more else float("inf")
        polling = any(worker.must_be_polled for worker in self._workers)
        next_poll = time.monotonic() + _POLL_S if polling else float("inf")
        expiries = [worker.expiry(self._config) for worker in self._workers]
        watched = self._limit_watch.next_look_at
        own = (self._queue.first_expiry(), self._orphans.next_look_at, watched, next_poll, next_start)
        return min([*own, *expiries])

    def _expire(self, worker: WorkerHandle) -> None:
        limit_s = self._config.start_timeout_s
        if worker.has_lost_channel:
            worker.end_for_lost_channel()
        elif worker.state is WorkerState.STARTING:
            worker.is_hung = True
            message = f"a worker process did not start within {limit_s:g} s"
            self._kill(worker, EndingKind.WORKER_DIED, message)
            self._set_aside_origin(worker)
        elif worker.state is WorkerState.IDLE:
            self._kill(worker, EndingKind.CANCELLED)
        elif worker.state is WorkerState.ENDING:
            worker.sample()  # the last account of what it used
            worker.kill()  # its answer stands
        elif worker.state is WorkerState.DYING:
            self._unblock_death(worker)
        elif worker.job is not None and worker.job.started_at is not None:
            self._kill(worker, EndingKind.TIMED_OUT)
        else:
            message = f"an idle worker did not take the call within {limit_s:g} s"
            self._kill(worker, EndingKind.NOT_STARTED, message)

    def _unblock_death(self, worker: WorkerHandle) -> None:
        """A killed worker does not end: what it was forked from hangs, and does not reap it."""
        worker.killed_at = time.monotonic()
        if worker.process.is_dead_unreaped():
            self._set_aside_origin(worker)
            self._on_death(worker)

    def _set_aside_origin(self, worker: WorkerHandle) -> None:
        """What a worker was forked from hangs: start no more with it, and use none of those that wait."""
        origin = worker.process.origin
        self._source.set_aside(worker.process)
        for each in tuple(self._workers) if origin is not None else ():
            if each.process.origin is origin and each.state in (WorkerState.STARTING, WorkerState.IDLE):
                each.is_given_up = True
                self._kill(each, EndingKind.WORKER_DIED, "what it was forked from hangs")

    # The disposer's thread.

    def _dispose_all(self) -> None:
        while (process := self._disposals.get()) is not None:
            try:
                process.dispose()
            except Exception:  # the process is dead; what is left is the library's own bookkeeping
                logger.warning("pool %s: clean-up after a worker failed", self._config.pool_id, exc_info=True)
