"""Reused workers of this machine, started by loky. For code that may be wrong but is not hostile.

    caller (any thread, any loop) --- Dispatcher (a thread) --- a loky executor with one worker --- process
                                                            --- a loky executor with one worker --- process

loky cannot kill one call: killing a worker breaks its whole executor, and each call queued there fails with
it. So every slot is an executor of its own, and its worker runs one task for life: `worker.main.serve`, which
answers calls on a private socket. Through that socket the dispatcher knows when a call begins and ends
without loky's queues and threads in between, and can kill it alone.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

from gigaexec.backend import CompleteHandler, HookDispatcher, ShutdownHandler, SubmitHandler
from gigaexec.backends.interpreter_exit import close_at_exit, interpreter_is_exiting, worker_was_started
from gigaexec.calls import ExecutionMetrics, Outcome, OutcomeStatus, WorkerCall
from gigaexec.config import WorkerConfig, require_deadline, require_supported_platform
from gigaexec.dispatch.dispatcher import Dispatcher
from gigaexec.dispatch.jobs import Ending, EndingKind, Job
from gigaexec.dispatch.loky_worker import LokyProcess, start_loky_worker
from gigaexec.dispatch.outcomes import failed_outcome, successful_outcome
from gigaexec.dispatch.worker_handle import WorkerPipes
from gigaexec.errors import (
    BackendClosedError,
    GigaexecError,
    InfrastructureError,
    InvalidCallError,
    SpillError,
    WorkerStartError,
)
from gigaexec.log_text import clean
from gigaexec.transport.codec import encode_arguments
from gigaexec.transport.spill import (
    SpillDirectory,
    decode_inline_value,
    read_spilled_value,
    remove_spill,
)
from gigaexec.worker.channel import CallHeader, frame_prefix

logger = logging.getLogger(__name__)


class LokyBackend:
    """Runs calls in reused worker processes of this machine.

    Workers start with the first call. It may be used from any thread and any event loop, several at once,
    and several backends live side by side. After a `shutdown` the next call starts afresh.

    Reused workers are no sandbox: a program can leave changes in its worker that a later program sees.

    Args:
        config: How to run workers. None reads `WorkerConfig.from_env()`.

    Raises:
        UnsupportedPlatformError: On Windows.
    """

    def __init__(self, config: WorkerConfig | None = None) -> None:
        require_supported_platform()
        self.config = config if config is not None else WorkerConfig.from_env()
        self._hooks = HookDispatcher()
        self._is_shutdown_announced = False
        self._become_owner()

    def _become_owner(self) -> None:
        self._owner_pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._ending_pools: list[_Pool] = []

    @property
    def max_concurrency(self) -> int:
        """How many calls run at once."""
        return self.config.worker_count

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        """Run one call and return its value. See `ExecutorBackend.execute`."""
        return (await self.run(call, deadline_s=deadline_s)).unwrap()

    async def run(
        self, call: WorkerCall, *, deadline_s: float, queue_timeout_s: float | None = None
    ) -> Outcome:
        """Run one call and return how it ended. See `OutcomeBackend.run`.

        On return the call's process is idle or has been killed, what it started is dead, and its spill file
        is gone.
        When the awaiting task is cancelled, that holds before `CancelledError` is raised.
        """
        request = _Request(call, deadline_s, queue_timeout_s)
        metrics: ExecutionMetrics | None = None
        error: BaseException | None = None
        try:
            self._hooks.submitted(call)
            outcome = await self._run(request)
            metrics, error = outcome.metrics, outcome.error
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._log_call(call, metrics, error)
            self._hooks.completed(call, metrics, error)
        return outcome

    async def shutdown(self, *, wait: bool = False) -> None:
        """End all workers; running and queued calls end as cancelled.

        Args:
            wait: Return when all workers are gone and every spill file is removed. Otherwise that happens
                soon after the return.
        """
        pools = self._begin_shutdown()
        if wait:
            for pool in pools:
                await asyncio.to_thread(pool.join)

    def shutdown_now(self, *, wait: bool = False) -> None:
        """The same as `shutdown`, for code without an event loop."""
        for pool in self._begin_shutdown():
            if wait:
                pool.join()

    def close_at_exit(self, timeout_s: float) -> None:
        """Shut down and wait at most `timeout_s`, as the interpreter exits."""
        if self._owner_pid == os.getpid():  # a forked child exits without a word: nothing of it is its own
            for pool in self._begin_shutdown():
                pool.join(timeout_s)

    def on_submit(self, handler: SubmitHandler) -> None:
        """Register `handler(call)`. See `LifecycleObservable`."""
        self._hooks.add_submit(handler)

    def on_complete(self, handler: CompleteHandler) -> None:
        """Register `handler(call, metrics or None, exception or None)`. See `LifecycleObservable`.

        It runs on the thread that awaits the call.
        """
        self._hooks.add_complete(handler)

    def on_shutdown(self, handler: ShutdownHandler) -> None:
        """Register `handler()`. See `LifecycleObservable`."""
        self._hooks.add_shutdown(handler)

    def clear_hooks(self) -> None:
        """Forget all handlers."""
        self._hooks.clear()

    async def _run(self, request: _Request) -> Outcome:
        try:
            pool = self._live_pool()
        except InfrastructureError as error:
            return Outcome(OutcomeStatus.INFRASTRUCTURE, error=error)
        return await pool.run(request)

    def _live_pool(self) -> _Pool:
        if self._owner_pid != os.getpid():
            self._become_owner()  # a forked child: the parent's workers are not its own
        with self._lock:
            if self._pool is not None and self._pool.has_failed:
                self._retire_pool()
            if self._pool is None:
                if interpreter_is_exiting():
                    raise BackendClosedError("the interpreter is exiting; no call can be run any more")
                try:
                    self._pool = _Pool(self.config)
                except (OSError, RuntimeError) as error:  # no descriptor or no thread is to be had
                    raise WorkerStartError(f"the pool could not be started: {error}") from error
                self._is_shutdown_announced = False
                close_at_exit(self)
                self._stop_when_forgotten = weakref.finalize(self, self._pool.stop)
                self._stop_when_forgotten.atexit = False
            return self._pool

    def _retire_pool(self) -> None:
        assert self._pool is not None
        self._stop_when_forgotten.detach()
        self._pool.stop()
        self._ending_pools.append(self._pool)
        self._pool = None

    def _begin_shutdown(self) -> list[_Pool]:
        if self._owner_pid != os.getpid():
            self._become_owner()
        with self._lock:
            if self._pool is not None:
                self._retire_pool()
            self._ending_pools = [pool for pool in self._ending_pools if not pool.join(0)]
            pools = list(self._ending_pools)
            announce, self._is_shutdown_announced = not self._is_shutdown_announced, True
        if announce:
            self._hooks.shut_down()
        return pools

    def _log_call(
        self, call: WorkerCall, metrics: ExecutionMetrics | None, error: BaseException | None
    ) -> None:
        if not logger.isEnabledFor(logging.DEBUG):
            return
        cost = metrics if metrics is not None else ExecutionMetrics(0, 0.0, 0.0, 0.0, 0)
        logger.debug(
            "pool=%s node=%s worker=%s pid=%d function=%s wall_s=%.6f cpu_s=%.6f peak_rss_kb=%d ended=%s",
            self.config.pool_id,
            self.config.node_id,
            cost.worker_id or "-",
            cost.worker_pid,
            clean(call.function_name),
            cost.wall_time_s,
            cost.user_time_s + cost.sys_time_s,
            cost.peak_rss_kb,
            "ok" if error is None else type(error).__name__,
        )


class _Request:
    """A call and its limits, checked, its arguments pickled."""

    def __init__(self, call: WorkerCall, deadline_s: float, queue_timeout_s: float | None) -> None:
        if not isinstance(call, WorkerCall):
            raise InvalidCallError(f"call must be a WorkerCall, not {type(call).__name__}")
        self.call = call
        self.deadline_s = require_deadline("deadline_s", deadline_s)
        self.queue_timeout_s = (
            None
            if queue_timeout_s is None
            else require_deadline("queue_timeout_s", queue_timeout_s, allow_zero=True)
        )
        self._python_path = [_absolute(entry) for entry in call.python_path]
        self._arguments = encode_arguments(call)

    def frames(self, spill_path: str) -> list[bytes]:
        call = self.call
        header = pickle.dumps(
            CallHeader(call.code, call.function_name, self._python_path, call.env, spill_path), protocol=5
        )
        return [frame_prefix(len(header)) + header, frame_prefix(len(self._arguments)), self._arguments]


def _absolute(folder: str) -> str:
    # A relative folder is relative to the caller's current folder, not to the worker's.
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    except FileNotFoundError as error:
        raise InvalidCallError(
            f"python_path holds the relative folder {folder!r}, and this process's current folder is gone"
        ) from error


class _Pool:
    """One life of a backend, from its first call to its shutdown."""

    def __init__(self, config: WorkerConfig) -> None:
        self._spill = SpillDirectory(config.spill_dir)
        try:
            self._dispatcher = Dispatcher(config, functools.partial(_start_worker, config), self._spill)
        except BaseException:
            self._spill.close()
            raise

    @property
    def has_failed(self) -> bool:
        return bool(self._dispatcher.failure)

    def stop(self) -> None:
        self._dispatcher.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        return self._dispatcher.join(timeout_s)

    async def run(self, request: _Request) -> Outcome:
        spill_path = self._spill.new_path()
        ending = await self._ending(request, spill_path)
        try:
            outcome = await _read_outcome(ending, request)
        finally:
            if ending.may_have_spilled:
                remove_spill(spill_path)
        if isinstance(outcome.error, SpillError):
            self._spill.repair()
        return outcome

    async def _ending(self, request: _Request, spill_path: str) -> Ending:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ending] = loop.create_future()
        job = Job(
            request.frames(spill_path),
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            on_ended=functools.partial(_deliver, loop, ended, spill_path),
        )
        self._dispatcher.submit(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._dispatcher.cancel(job)
            try:
                await asyncio.wait([ended])  # until the worker is dead
            finally:
                remove_spill(spill_path)  # the answer may have come first
            raise
        except GeneratorExit:  # the loop was closed under the call; nobody waits any more
            self._dispatcher.cancel(job)
            remove_spill(spill_path)
            raise


def _start_worker(config: WorkerConfig, worker_id: str) -> tuple[LokyProcess, WorkerPipes]:
    process, pipes = start_loky_worker(config, worker_id)
    try:
        worker_was_started()
    except RuntimeError:  # the interpreter began to exit while the worker started
        pipes.close()
        process.dispose()
        raise
    return process, pipes


def _deliver(
    loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Ending], spill_path: str, ending: Ending
) -> None:
    """Hand the ending over to the caller's loop. Runs on the dispatcher's thread."""
    if ending.kind is not EndingKind.ANSWERED:
        remove_spill(spill_path)  # a killed worker may have been writing it
    try:
        loop.call_soon_threadsafe(ended.set_result, ending)
    except RuntimeError:  # the caller's loop was closed under its call: nobody will read the result
        remove_spill(spill_path)


async def _read_outcome(ending: Ending, request: _Request) -> Outcome:
    result = ending.result
    unreadable: GigaexecError | None = None
    if result is not None and result.error is None:
        try:
            if result.inline_value is not None:
                return successful_outcome(ending, decode_inline_value(result.inline_value))
            read: Callable[[], Any] = functools.partial(
                read_spilled_value, str(result.spill_path), result.spilled_bytes
            )
            # A large value takes long to unpickle; the event loop goes on meanwhile.
            return successful_outcome(ending, await asyncio.to_thread(read))
        except GigaexecError as error:
            unreadable = error
    return failed_outcome(
        ending,
        deadline_s=request.deadline_s,
        queue_timeout_s=request.queue_timeout_s,
        unreadable=unreadable,
    )
