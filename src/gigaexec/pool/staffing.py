"""Starts missing workers, and handles failed starts and templates that hang."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from gigaexec.errors import WorkerStartError
from gigaexec.pool.endings.ending import Death
from gigaexec.pool.failure_log import in_one_line
from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import EndingKind
from gigaexec.pool.starters.descriptors import advice_for, limit_problem
from gigaexec.pool.starters.start_failures import StartFailures, shortage_behind
from gigaexec.pool.supervision.orphans import Orphans
from gigaexec.pool.supervision.process_tree import Killing
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_handle import WorkerHandle
from gigaexec.pool.worker_process import Disposer, WorkerPipes, WorkerProcess, WorkerStarter
from gigaexec.pool.workers import Workers

logger = logging.getLogger(__name__)

# Number of spare workers to keep ready after a worker was killed, so that the next replacement need not wait
# 100 ms for a new interpreter. Before the first kill, a pool of reused workers keeps no spare worker.
_SPARES_AFTER_FIRST_KILL = 1

NewHandle = Callable[[str, WorkerProcess, WorkerPipes], WorkerHandle]


class Staffing:
    """Starts the workers that a pool needs. Used on the dispatcher's thread, or under its lock.

    Args:
        pool_id: The pool's id, for log messages.
        max_busy: Maximum number of calls that run at once.
        start_timeout_s: Longest time that a start may take, in seconds.
        starter: Starts the worker processes.
        workers: The pool's workers.
        jobs: The jobs that wait for a worker.
        disposer: Disposes of ended processes.
        new_handle: Creates the handle of a started process. May raise OSError.
        kill: Called with a worker to kill, and the cause of its death.
    """

    def __init__(
        self,
        pool_id: str,
        max_busy: int,
        start_timeout_s: float,
        *,
        starter: WorkerStarter,
        workers: Workers,
        jobs: JobQueue,
        disposer: Disposer,
        new_handle: NewHandle,
        kill: Callable[[WorkerHandle, Death], None],
    ) -> None:
        self._pool_id = pool_id
        self._max_busy = max_busy
        self._starter = starter
        self._workers = workers
        self._jobs = jobs
        self._disposer = disposer
        self._new_handle = new_handle
        self._kill = kill
        self._spares = starter.spares
        self._owes_spares = False
        self._failures = StartFailures(start_timeout_s)
        self._last_error = ""
        self._must_start_more = False
        self.is_stopped = False
        """True after `stop`: no more workers are started."""
        self.orphans = Orphans(has_guard=starter.leaves_orphans)

    @property
    def next_start_at(self) -> float:
        """Time at which to call `start_missing`, on the monotonic clock; infinity if no worker is missing."""
        is_due = self._must_start_more and not self.is_stopped
        return self._failures.next_try_at if is_due else float("inf")

    def lacks_workers(self) -> bool:
        """True if the pool should start a worker."""
        wanted = min(
            self._max_busy, self._workers.count(WorkerState.BUSY) + self._jobs.count_up_to(self._max_busy)
        )
        alive = self._workers.count(WorkerState.STARTING, WorkerState.IDLE, WorkerState.BUSY)
        lacks = alive < wanted + self._spares
        if wanted == 0 and self._owes_spares and not lacks:
            self._owes_spares = False
        return lacks and (wanted > 0 or self._owes_spares)

    def start_missing(self) -> None:
        """Start one missing worker, if any. Results and deadlines are served between two starts."""
        self._must_start_more = False
        if self.is_stopped or not self.lacks_workers():
            return
        if self._failures.next_try_at <= time.monotonic():
            self._start_one()
        self._must_start_more = self.lacks_workers()

    def stop(self) -> None:
        """Start no more workers."""
        self.is_stopped = True

    def keep_spare(self) -> None:
        """Keep a spare worker ready from now on, because a worker was killed."""
        self._spares = max(self._spares, _SPARES_AFTER_FIRST_KILL)

    def on_call_taken(self, worker: WorkerHandle) -> None:
        """Record that a worker took a call."""
        # A worker that ends with its call is replaced even if no other call waits. If the replacement ends
        # because it was idle, it is not replaced, so that an idle pool can end all its workers.
        self._owes_spares = worker.supervised is not None

    def on_ready(self) -> None:
        """Reset the count of failed starts, because a worker has started."""
        self._failures.end()

    def search_for_orphans(self, worker: WorkerHandle) -> Killing | None:
        """Return the kill of the processes that an ended worker left running; None if it left none.

        If the worker ended by itself, init has adopted the processes that it had started.
        """
        if worker.is_tree_dead or not self._starter.leaves_orphans:
            return None
        return self.orphans.kill_those_of(worker.worker_id, worker.process.pid)

    def on_death(self, worker: WorkerHandle) -> None:
        """Release a dead worker. Call `worker.close()` first."""
        self._must_start_more = True  # do not wait for the next event: it may come late
        self._starter.forget(worker.process)
        self._disposer.dispose_of(worker.process)
        if worker.is_tree_dead and self._starter.leaves_orphans:
            self.orphans.forget(worker.worker_id)

    def on_idle(self) -> None:
        """Release what only workers need, such as the template.

        Called after the pool's last worker ended because it was idle.
        """
        self._starter.on_idle()

    def on_dead_start(self, worker: WorkerHandle, exit_code: int | None, output: str) -> None:
        """Handle a worker that died before it was ready: retry the start, or fail a waiting call."""
        supervised = worker.supervised
        failure = supervised.start_failure() if supervised is not None and exit_code is None else None
        is_shortage = not worker.is_hung and (
            worker.is_short_of_resources or (failure is not None and failure.is_shortage)
        )
        facts = worker.death.message or (
            failure.text
            if failure is not None
            else f"a worker process ended {_exit_text(exit_code)} while it started"
        )
        text = f"{facts}\n{output}".rstrip()
        if worker.death.kind is EndingKind.NOT_STARTED:
            self._jobs.end_first(EndingKind.NOT_STARTED, text)  # permanent: no other worker can start either
            return
        is_of_template = worker.is_hung or (failure is not None and not is_shortage)
        self._on_failure(
            text,
            template=supervised.template if supervised is not None and is_of_template else None,
            is_shortage=is_shortage,
            is_hung=worker.is_hung,
        )

    def retire_template(self, worker: WorkerHandle) -> None:
        """Retire the template of `worker`, because the template hangs, and kill its unused workers."""
        supervised = worker.supervised
        if supervised is None:
            return
        self._starter.retire_template(supervised)
        for each in self._workers:
            is_unused = each.state in (WorkerState.STARTING, WorkerState.IDLE)
            if is_unused and each.supervised is not None and each.supervised.template is supervised.template:
                each.is_abandoned = True
                self._kill(each, Death(message="the template of the worker hangs"))

    def close(self) -> None:
        """Close the starter. Called when the pool's last worker is dead."""
        self._starter.close()

    def close_after_fork(self) -> None:
        """Close the inherited descriptors in a forked child."""
        self._starter.close_after_fork()
        self.orphans.close_after_fork()

    def _start_one(self) -> None:
        worker_id = uuid.uuid4().hex[:12]
        try:
            self.orphans.expect_from(worker_id)
            worker = self._new_worker(worker_id)
        except Exception as error:  # noqa: BLE001 - a starter may raise anything; logged and counted
            self.orphans.forget(worker_id)
            shortage = shortage_behind(error)
            cause = error if isinstance(error, WorkerStartError) else shortage or error
            advice = advice_for(cause, self._max_busy + self._spares)
            self._log(error, cause, advice)
            text = f"a worker process did not start: {type(cause).__name__}: {cause}. {advice}".rstrip(". ")
            if advice and (problem := limit_problem()):
                # Permanent: waiting for free descriptors would not help.
                self._fail_call(f"a worker process cannot start: {problem}. {advice}")
                return
            self._on_failure(text, is_shortage=shortage is not None)
            return
        self._workers.add(worker)

    def _new_worker(self, worker_id: str) -> WorkerHandle:
        process, pipes = self._starter.start_worker(worker_id)
        try:
            return self._new_handle(worker_id, process, pipes)
        except BaseException:  # for example, the user has no epoll watch left
            pipes.close()  # the process runs no program yet, and ends when its channels close
            self._starter.forget(process)
            self._disposer.dispose_of(process)
            raise

    def _log(self, error: Exception, cause: BaseException, advice: str) -> None:
        if repr(error) == self._last_error:
            return  # each cause is logged once, because a start may be retried very often
        self._last_error = repr(error)
        text = in_one_line(cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause))
        advice = f" {advice}" if advice else ""
        logger.warning("pool %s: a worker did not start (%s); trying again.%s", self._pool_id, text, advice)
        logger.debug("pool %s: details of the failed start", self._pool_id, exc_info=error)

    def _on_failure(
        self, message: str, *, template: object = None, is_shortage: bool = False, is_hung: bool = False
    ) -> None:
        """Count a failed start. Fail one waiting call if starts failed too often. See `StartFailures.add`."""
        others = (WorkerState.IDLE, WorkerState.BUSY, WorkerState.ENDING)
        must_fail_a_call = self._failures.add(
            others_serve=self._workers.count(*others) > 0,
            others_start=self._workers.count(WorkerState.STARTING) > 0,
            template=template,
            is_shortage=is_shortage,
            is_hung=is_hung,
        )
        if must_fail_a_call:
            self._fail_call(message)

    def _fail_call(self, message: str) -> None:
        self._owes_spares = False
        self._jobs.end_first(EndingKind.NOT_STARTED, message)


def _exit_text(exit_code: int | None) -> str:
    return "with an unknown exit code" if exit_code is None else f"with exit code {exit_code}"
