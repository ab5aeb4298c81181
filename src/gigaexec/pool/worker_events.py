"""Handles the events of workers: ready, answer, limit hit, death, timeout of a state."""

from __future__ import annotations

import logging
import selectors

from gigaexec.calls import LimitHit
from gigaexec.config import WorkerConfig
from gigaexec.hooks import HookDispatcher
from gigaexec.pool.endings.ending import Death, ending_by_answer, ending_by_death, may_be_requeued
from gigaexec.pool.job_queue import JobQueue
from gigaexec.pool.jobs import Answer, EndingKind
from gigaexec.pool.staffing import Staffing
from gigaexec.pool.supervision.kills import Kill, Kills
from gigaexec.pool.supervision.process_tree import Killing
from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_handle import WorkerHandle
from gigaexec.pool.worker_process import Disposer, WorkerPipes, WorkerProcess, WorkerStarter
from gigaexec.pool.workers import Workers
from gigaexec.untrusted.log_text import one_line
from gigaexec.wire.messages import Ready

logger = logging.getLogger(__name__)


class WorkerEvents:
    """Handles the events of one pool's workers. Used on the dispatcher's thread only.

    Args:
        config: Configuration of the workers.
        starter: Starts the worker processes.
        workers: The pool's workers.
        jobs: The jobs that wait for a worker.
        disposer: Disposes of ended processes.
        selector: The dispatcher's selector.
        kills: The kills that are under way.
        hooks: Called when a worker starts or ends.
    """

    def __init__(
        self,
        config: WorkerConfig,
        starter: WorkerStarter,
        *,
        workers: Workers,
        jobs: JobQueue,
        disposer: Disposer,
        selector: selectors.BaseSelector,
        kills: Kills,
        hooks: HookDispatcher,
    ) -> None:
        self._config = config
        self._workers = workers
        self._queue = jobs
        self._selector = selector
        self._kills = kills
        self._hooks = hooks
        self.staffing = Staffing(
            config.pool_id,
            config.worker_count,
            config.start_timeout_s,
            starter=starter,
            workers=workers,
            jobs=jobs,
            disposer=disposer,
            new_handle=self._new_handle,
            kill=self.kill,
        )

    def kill(self, worker: WorkerHandle, death: Death) -> None:
        """Kill a worker for a cause.

        A dying worker keeps its first cause, except that a cancellation replaces `WORKER_DIED`.
        """
        if worker.state is WorkerState.DYING:
            # A call whose worker died may be requeued, but a cancelled call must not be.
            if death.kind is EndingKind.CANCELLED and worker.death.kind is EndingKind.WORKER_DIED:
                worker.death = death
            return
        self._workers.unidle(worker)
        if worker.state is WorkerState.BUSY:
            self.staffing.keep_spare()
            self._take_last_sample(worker)
        worker.kill(death)

    def expire(self, worker: WorkerHandle) -> None:
        """Handle the timeout of a worker's current state."""
        limit_s = self._config.start_timeout_s
        if worker.clock.is_channel_overdue:
            self._end_for_lost_channel(worker)
        elif worker.state is WorkerState.STARTING:
            worker.is_hung = True
            self.kill(worker, Death(message=f"a worker process did not start within {limit_s:g} s"))
            self.staffing.retire_template(worker)
        elif worker.state is WorkerState.IDLE:
            self.kill(worker, Death(EndingKind.CANCELLED))
        elif worker.state is WorkerState.ENDING:
            self._take_last_sample(worker)
            worker.kill()  # the worker's answer remains valid
        elif worker.state is WorkerState.DYING:
            self._unblock_death(worker)
        elif worker.call is not None and worker.call.job.started_at is not None:
            self.kill(worker, Death(EndingKind.TIMED_OUT))
        else:
            message = f"an idle worker did not take the call within {limit_s:g} s"
            self.kill(worker, Death(EndingKind.NOT_STARTED, message))

    def on_limit_of_call(self, call: RunningCall, hit: LimitHit) -> None:
        """Kill the worker of a call that hit a limit."""
        worker = self._workers.running(call)
        if worker is not None:
            self._on_limit(worker, hit)

    def _new_handle(self, worker_id: str, process: WorkerProcess, pipes: WorkerPipes) -> WorkerHandle:
        return WorkerHandle(
            worker_id,
            process,
            pipes,
            self._selector,
            self._config,
            start_kill=self._start_kill,
            on_message=self._on_message,
            on_exit=self._on_exit,
            on_limit=self._on_limit,
        )

    def _start_kill(self, worker: WorkerHandle, killing: Killing) -> None:
        """Start to kill all processes of a worker. Runs on any thread that holds the pool's lock."""

        def on_killed(are_dead: bool) -> None:
            worker.is_being_killed = False
            worker.is_tree_dead = are_dead

        self._kills.start(Kill(worker, killing, on_killed))

    def _on_message(self, worker: WorkerHandle, message: Ready | Answer) -> None:
        if isinstance(message, Ready):
            self._on_ready(worker, message)
        elif worker.state is WorkerState.BUSY and worker.call is not None:
            self._on_answer(worker, worker.call, message)
        else:
            message.close()

    def _on_ready(self, worker: WorkerHandle, message: Ready) -> None:
        for warning in message.warnings:
            logger.warning("pool %s: worker %s: %s", self._config.pool_id, worker.worker_id, warning)
        if worker.state is not WorkerState.STARTING:
            return
        if message.problem:
            self.kill(worker, Death(EndingKind.NOT_STARTED, message.problem))
            return
        self.staffing.on_ready()
        worker.become_ready()
        self._hooks.worker_started(worker.worker_id, worker.process.pid)
        self._workers.make_idle(worker)

    def _on_answer(self, worker: WorkerHandle, call: RunningCall, answer: Answer) -> None:
        worker.drain_output()
        if worker.state is not WorkerState.BUSY:  # draining hit the output limit, which ended the call
            answer.close()
            return
        worker.calls_done += 1
        layout, limit = answer.result.layout, call.job.limits.result_bytes
        # An honest worker has checked the size already, but the program may have forged the answer.
        if layout is not None and limit is not None and layout.total_bytes > limit:
            answer.close()
            self._on_limit(worker, LimitHit("result_bytes", limit, layout.total_bytes))
        elif worker.supervised is not None:
            worker.await_end(call, answer)  # `_on_death` ends the job when all processes have ended
        else:
            self._end_answered(worker, call, answer)

    def _end_answered(self, worker: WorkerHandle, call: RunningCall, answer: Answer) -> None:
        """End the call of a reused worker, and keep or replace the worker."""
        worker.finish_call()
        ending = ending_by_answer(call, answer, worker.captured_output(), worker.reports.steps)
        reason = answer.result.retire_reason
        if not reason and worker.calls_done == self._config.max_calls_per_worker:
            reason = f"the worker has run {worker.calls_done} calls"
        if reason:
            logger.debug(
                "pool %s: worker %s is replaced: %s",
                self._config.pool_id,
                worker.worker_id,
                one_line(reason),  # a program can forge the reason
            )
            self.staffing.keep_spare()
            worker.kill()
        else:
            self._workers.make_idle(worker)
        call.job.end(ending)

    def _on_limit(self, worker: WorkerHandle, hit: LimitHit) -> None:
        if worker.call is not None:
            worker.call.hit = hit
        self.kill(worker, Death(EndingKind.LIMIT_HIT))

    def _take_last_sample(self, worker: WorkerHandle) -> None:
        """Sample a supervised worker before it is killed: its resource use is not reported afterwards."""
        if worker.call is not None and worker.supervised is not None:
            worker.call.sample()

    def _on_exit(self, worker: WorkerHandle) -> None:
        """Handle the end of a worker's process: kill the processes that it left running."""
        if worker.is_being_killed:
            self._kills.abandon(worker)
            worker.is_being_killed = False
        search = self.staffing.search_for_orphans(worker)
        if search is None:
            self._on_death(worker)
            return
        worker.enter(WorkerState.DYING)
        worker.is_being_killed = True
        self._kills.start(Kill(worker, search, lambda _: self._on_death(worker)))

    def _on_death(self, worker: WorkerHandle) -> None:
        """Handle the death of a worker and of all its processes."""
        call = worker.call
        if call is not None:
            self.staffing.keep_spare()
        self._workers.remove(worker)
        worker.drain_output()  # may hit the output limit
        exit_code = worker.process.exit_code()
        output, steps = worker.captured_output(), worker.reports.steps
        ending = None if call is None else ending_by_death(call, worker.death, exit_code, output, steps)
        worker.close()
        if worker.is_being_killed:
            self._kills.abandon(worker)
        self.staffing.on_death(worker)
        has_idled_out = call is None and worker.death.kind is EndingKind.CANCELLED
        if has_idled_out and not self._workers and not self._queue.count_up_to(1):
            self.staffing.on_idle()
        if worker.was_ready:
            self._hooks.worker_exited(worker.worker_id, worker.process.pid, exit_code)
        if call is not None and ending is not None:
            if may_be_requeued(call, worker.death):
                self._queue.requeue(call.job, counts=not call.is_untouched)
            else:
                call.job.end(ending)
        elif not worker.was_ready and not worker.is_abandoned and not self.staffing.is_stopped:
            self.staffing.on_dead_start(worker, exit_code, output.as_report())

    def _end_for_lost_channel(self, worker: WorkerHandle) -> None:
        """Kill a worker whose channel closed some time ago, unless the worker is ending already."""
        supervised = worker.supervised
        if supervised is not None and supervised.is_worker_dead() and not worker.is_end_overdue:
            worker.is_end_overdue = True
            worker.clock.mark_death_overdue()
            return
        worker.clock.forget_lost_channel()
        if worker.is_end_overdue:
            # If some processes of the call are still alive, a supervisor is about to kill them.
            if supervised is not None and supervised.is_dead_unreaped():
                worker.kill()
            return
        if worker.call is None or worker.call.job.started_at is not None:
            worker.blame("the program closed its worker's channel to the driver")
        worker.kill()

    def _unblock_death(self, worker: WorkerHandle) -> None:
        """Stop waiting for the end of a killed worker if its template hangs and does not reap it."""
        worker.clock.restart()
        if worker.supervised is not None and worker.supervised.is_dead_unreaped():
            self.staffing.retire_template(worker)
            self._on_death(worker)
