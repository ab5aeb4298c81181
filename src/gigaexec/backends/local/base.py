"""Base class of the backends that run calls on this machine. The first call starts the pool.

caller (any thread, any loop) --- LocalBackend --- Pool --- Dispatcher (a thread) --- worker processes
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gigaexec.backends.local.interpreter_exit import close_at_exit, interpreter_is_exiting
from gigaexec.calls import ExecutionMetrics, Outcome, WorkerCall
from gigaexec.config import WorkerConfig, require_supported_platform
from gigaexec.errors import (
    BackendClosedError,
    ConfigurationError,
    InfrastructureError,
    LimitNotAppliedError,
    WorkerStartError,
)
from gigaexec.hooks import (
    CompleteHandler,
    HookDispatcher,
    ShutdownHandler,
    SubmitHandler,
    WorkerExitHandler,
    WorkerStartHandler,
)
from gigaexec.limits import Limits, require_limits
from gigaexec.pool.decoding_threads import DecodingThreads
from gigaexec.pool.files.spill import SpillDirectory
from gigaexec.pool.pool import Pool, Request
from gigaexec.pool.supervision.sampling import can_sample
from gigaexec.pool.worker_process import WorkerStarter
from gigaexec.untrusted.log_text import one_line
from gigaexec.wire.arguments_out import SharedArgument
from gigaexec.wire.encoded import EncodedCall, EncodedOutcome

logger = logging.getLogger("gigaexec.backends.local")

_T = TypeVar("_T")

_backends: weakref.WeakSet[LocalBackend] = weakref.WeakSet()


class LocalBackend(ABC):
    """A backend that runs calls in worker processes on this machine.

    Workers start with the first call. A backend may be used from several threads and event loops at once, and
    a process may have several backends. After a `shutdown`, the next call starts new workers.

    Args:
        config: Configuration of the workers. None for `WorkerConfig.from_env()`.

    Raises:
        UnsupportedPlatformError: This platform is Windows.
        ConfigurationError: The configuration contains a setting that this backend does not support.
    """

    def __init__(self, config: WorkerConfig | None = None) -> None:
        require_supported_platform()
        self.config = config if config is not None else WorkerConfig.from_env()
        self._check(self.config.limits)
        self._hooks = HookDispatcher()
        self._is_shutdown_announced = False
        self._begin_without_pool()
        _backends.add(self)

    _names_results: bool
    """True if the driver chooses a path for the file of a large result; False if the file is unnamed."""

    @abstractmethod
    def _new_starter(self, spill: SpillDirectory) -> WorkerStarter:
        """Return a starter for the workers of a new pool."""

    def _begin_without_pool(self) -> None:
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._ending_pools: list[Pool] = []
        self._decoding = DecodingThreads()

    @property
    def max_concurrency(self) -> int:
        """Maximum number of calls that run at the same time."""
        return self.config.worker_count

    @property
    def abandoned_decodes(self) -> int:
        """Number of values whose unpickling in this process took too long and was abandoned.

        Each of them may have left a thread that still runs code of a program. A value of plain data is never
        among them, nor any value of a sandboxed program.
        """
        return self._decoding.abandoned

    def share(self, value: object) -> SharedArgument:
        """Pickle and write a value once, for use as an argument of many calls.

        Args:
            value: Any value that cloudpickle can pickle.

        Returns:
            An object to put into `WorkerCall.args` or `kwargs` instead of the value.

        Raises:
            InvalidCallError: The value cannot be pickled.
            InfrastructureError: No memory or no descriptor is free for the pickled value.
        """
        return SharedArgument(value)

    async def execute(self, call: WorkerCall, *, deadline_s: float, limits: Limits | None = None) -> Any:
        """Run one call and return its value. See `ExecutorBackend.execute`."""
        return (await self.run(call, deadline_s=deadline_s, limits=limits)).unwrap()

    async def run(
        self,
        call: WorkerCall,
        *,
        deadline_s: float,
        queue_timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Run one call and return its outcome. See `OutcomeBackend.run`.

        On return, the worker is idle or dead, all processes that the program started are dead, and the spill
        file of the call is removed. If the awaiting task is cancelled, all this is done before
        `CancelledError` is raised.
        """
        request = Request(call, deadline_s, queue_timeout_s, self._limits_with(limits))
        return await self._observed(call, functools.partial(self._run, request), _itself)

    async def run_encoded(self, call: EncodedCall) -> EncodedOutcome:
        """Run one call that another machine sent. Its arguments and its value are not decoded here.

        This method works like `run`, except that hooks get the call without arguments. See `Pool.run_encoded`
        for the memory or file that contains the value on return.

        Raises:
            ConfigurationError: A deadline or a limit of the call is not valid.
        """
        request = Request.from_encoded(call, self._limits_with(call.limits))
        return await self._observed(call.call, functools.partial(self._run_encoded, request), _without_value)

    async def _observed(
        self, call: WorkerCall, run: Callable[[], Awaitable[_T]], outcome_of: Callable[[_T], Outcome]
    ) -> _T:
        """Run a call, call the hooks before and after it, and log the call."""
        metrics: ExecutionMetrics | None = None
        error: BaseException | None = None
        try:
            self._hooks.submitted(call)
            ended = await run()
            outcome = outcome_of(ended)
            metrics, error = outcome.metrics, outcome.error
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._log_call(call, metrics, error)
            self._hooks.completed(call, metrics, error)
        return ended

    async def shutdown(self, *, wait: bool = False) -> None:
        """End all workers. Running and queued calls end as cancelled.

        Args:
            wait: True to return only when all workers are dead and every spill file is removed. False to
                return at once, while the workers are still being ended.
        """
        pools = self._begin_shutdown()
        if wait:
            for pool in pools:
                await asyncio.to_thread(pool.join)

    def shutdown_now(self, *, wait: bool = False) -> None:
        """Shut down as `shutdown` does, for code without an event loop.

        Args:
            wait: See `shutdown`.
        """
        for pool in self._begin_shutdown():
            if wait:
                pool.join()

    def close_at_exit(self, timeout_s: float) -> None:
        """Shut down because the interpreter exits. Wait at most `timeout_s` for each pool."""
        for pool in self._begin_shutdown():
            pool.join(timeout_s)

    def on_submit(self, handler: SubmitHandler) -> None:
        """Register `handler(call)`. See `LifecycleObservable`."""
        self._hooks.add_submit(handler)

    def on_complete(self, handler: CompleteHandler) -> None:
        """Register `handler(call, metrics or None, exception or None)`. See `LifecycleObservable`.

        The handler runs on the thread that awaits the call.
        """
        self._hooks.add_complete(handler)

    def on_shutdown(self, handler: ShutdownHandler) -> None:
        """Register `handler()`. See `LifecycleObservable`."""
        self._hooks.add_shutdown(handler)

    def on_worker_start(self, handler: WorkerStartHandler) -> None:
        """Register `handler(worker_id, pid)`. See `WorkerObservable`."""
        self._hooks.add_worker_start(handler)

    def on_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Register `handler(worker_id, pid, exit code or None)`. See `WorkerObservable`."""
        self._hooks.add_worker_exit(handler)

    def clear_hooks(self) -> None:
        """Remove all handlers."""
        self._hooks.clear()

    def forget_pool_after_fork(self) -> None:
        """In a forked child: leave the pool to the parent. The next call starts a pool of this process."""
        if self._pool is not None:
            self._stop_when_forgotten.detach()
        self._begin_without_pool()

    def _check(self, limits: Limits) -> None:
        if limits.scratch_bytes is not None and not self.config.sandbox.confines:
            raise ConfigurationError(
                "scratch_bytes limits a scratch folder, but only a sandboxed call has a scratch folder; "
                "use ForkserverBackend with a SandboxPolicy, or remove this limit"
            )

    def _limits_with(self, limits: Limits | None) -> Limits:
        chosen = self.config.limits
        if limits is not None:
            chosen = chosen.overridden_by(require_limits(limits))
            self._check(chosen)
        return chosen

    async def _run(self, request: Request) -> Outcome:
        pool = self._pool_for(request)
        return await pool.run(request) if isinstance(pool, Pool) else pool

    async def _run_encoded(self, request: Request) -> EncodedOutcome:
        pool = self._pool_for(request)
        return await pool.run_encoded(request) if isinstance(pool, Pool) else EncodedOutcome(pool)

    def _pool_for(self, request: Request) -> Pool | Outcome:
        """Return the pool for a call. If the call cannot be run, return the outcome of the call."""
        if request.limits.sampled and not can_sample():
            names = " and ".join(request.limits.sampled)
            error = LimitNotAppliedError(
                f"{names} cannot be enforced: /proc of this system does not list the children of a process"
            )
            return Outcome(error.status, error=error)
        try:
            return self._live_pool()
        except InfrastructureError as error:
            return Outcome(error.status, error=error)

    def _live_pool(self) -> Pool:
        with self._lock:
            if self._pool is not None and self._pool.has_failed:
                self._retire_pool()
            if self._pool is None:
                if interpreter_is_exiting():
                    raise BackendClosedError("the interpreter is exiting; no call can be run any more")
                try:
                    self._pool = Pool(
                        self.config,
                        self._new_starter,
                        self._hooks,
                        self._decoding,
                        names_results=self._names_results,
                    )
                except (OSError, RuntimeError) as error:  # no file descriptor or no thread is available
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

    def _begin_shutdown(self) -> list[Pool]:
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
            one_line(call.function_name),
            cost.wall_time_s,
            cost.user_time_s + cost.sys_time_s,
            cost.peak_rss_kb,
            "ok" if error is None else type(error).__name__,
        )


def _itself(outcome: Outcome) -> Outcome:
    return outcome


def _without_value(encoded: EncodedOutcome) -> Outcome:
    return encoded.outcome


def _forget_pools_after_fork() -> None:
    for backend in tuple(_backends):
        backend.forget_pool_after_fork()


os.register_at_fork(after_in_child=_forget_pools_after_fork)
