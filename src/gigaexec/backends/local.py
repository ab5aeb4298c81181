"""What the backends of this machine have in common: a pool that starts with the first call and its life.

caller (any thread, any loop) --- LocalBackend --- Pool --- Dispatcher (a thread) --- worker processes
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import pickle
import threading
import weakref
from abc import ABC, abstractmethod
from typing import Any

from gigaexec.backend import (
    CompleteHandler,
    HookDispatcher,
    ShutdownHandler,
    SubmitHandler,
    WorkerExitHandler,
    WorkerStartHandler,
)
from gigaexec.backends.interpreter_exit import close_at_exit, interpreter_is_exiting
from gigaexec.calls import ExecutionMetrics, Outcome, OutcomeStatus, WorkerCall
from gigaexec.config import WorkerConfig, require_deadline, require_supported_platform
from gigaexec.dispatch.dispatcher import Dispatcher
from gigaexec.dispatch.jobs import Ending, EndingKind, Job
from gigaexec.dispatch.outcomes import failed_outcome, successful_outcome
from gigaexec.dispatch.tree_sample import SharedFiles
from gigaexec.dispatch.worker_process import WorkerSource
from gigaexec.errors import (
    BackendClosedError,
    ConfigurationError,
    GigaexecError,
    InfrastructureError,
    InvalidCallError,
    SpillError,
    WorkerStartError,
)
from gigaexec.limits import Limits, require_limits
from gigaexec.log_text import clean
from gigaexec.transport.arguments import SharedArgument, encode_arguments
from gigaexec.transport.codec import decode_value, read_value_file
from gigaexec.transport.spill import SpillDirectory, read_spilled_value, remove_spill
from gigaexec.worker.channel import CallHeader, frame_prefix

logger = logging.getLogger(__name__)


class LocalBackend(ABC):
    """Runs calls in worker processes of this machine.

    Workers start with the first call. It may be used from any thread and any event loop, several at once,
    and several backends live side by side. After a `shutdown` the next call starts afresh.

    Args:
        config: How to run workers. None reads `WorkerConfig.from_env()`.

    Raises:
        UnsupportedPlatformError: On Windows.
        ConfigurationError: The configuration asks for what this backend cannot do.
    """

    def __init__(self, config: WorkerConfig | None = None) -> None:
        require_supported_platform()
        self.config = config if config is not None else WorkerConfig.from_env()
        self._check(self.config.limits)
        self._hooks = HookDispatcher()
        self._is_shutdown_announced = False
        self._become_owner()

    _names_results: bool
    """Whether a large result is a file that the driver names; otherwise a file without a name is sent."""

    @abstractmethod
    def _worker_source(self, spill: SpillDirectory) -> WorkerSource:
        """Where a new pool's workers come from."""

    def _become_owner(self) -> None:
        self._owner_pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._ending_pools: list[Pool] = []

    @property
    def max_concurrency(self) -> int:
        """How many calls run at once."""
        return self.config.worker_count

    def share(self, value: object) -> SharedArgument:
        """Prepare a value that many calls get as an argument: it is pickled and written once.

        Raises:
            InvalidCallError: It cannot be pickled.
            InfrastructureError: There is no memory for it.
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
        """Run one call and return how it ended. See `OutcomeBackend.run`.

        On return the call's process is idle or dead, what it started is dead, and its spill file is gone.
        When the awaiting task is cancelled, that holds before `CancelledError` is raised.
        """
        request = self._request(call, deadline_s, queue_timeout_s, limits)
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

    def on_worker_start(self, handler: WorkerStartHandler) -> None:
        """Register `handler(worker_id, pid)`. See `WorkerObservable`."""
        self._hooks.add_worker_start(handler)

    def on_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Register `handler(worker_id, pid, exit code or None)`. See `WorkerObservable`."""
        self._hooks.add_worker_exit(handler)

    def clear_hooks(self) -> None:
        """Forget all handlers."""
        self._hooks.clear()

    def _check(self, limits: Limits) -> None:
        if limits.scratch_bytes is not None and not self.config.sandbox.confines:
            raise ConfigurationError(
                "scratch_bytes limits a scratch folder, and only a sandboxed call has one: "
                "use ForkserverBackend with a SandboxPolicy"
            )

    def _request(
        self, call: WorkerCall, deadline_s: float, queue_timeout_s: float | None, limits: Limits | None
    ) -> _Request:
        chosen = self.config.limits
        if limits is not None:
            chosen = chosen.overridden_by(require_limits(limits))
            self._check(chosen)
        return _Request(call, deadline_s, queue_timeout_s, chosen)

    async def _run(self, request: _Request) -> Outcome:
        try:
            pool = self._live_pool()
        except InfrastructureError as error:
            return Outcome(OutcomeStatus.INFRASTRUCTURE, error=error)
        return await pool.run(request)

    def _live_pool(self) -> Pool:
        if self._owner_pid != os.getpid():
            self._become_owner()  # a forked child: the parent's workers are not its own
        with self._lock:
            if self._pool is not None and self._pool.has_failed:
                self._retire_pool()
            if self._pool is None:
                if interpreter_is_exiting():
                    raise BackendClosedError("the interpreter is exiting; no call can be run any more")
                try:
                    self._pool = Pool(self, self._hooks)
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

    def _begin_shutdown(self) -> list[Pool]:
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

    def __init__(
        self, call: WorkerCall, deadline_s: float, queue_timeout_s: float | None, limits: Limits
    ) -> None:
        if not isinstance(call, WorkerCall):
            raise InvalidCallError(f"call must be a WorkerCall, not {type(call).__name__}")
        self.call = call
        self.deadline_s = require_deadline("deadline_s", deadline_s)
        self.queue_timeout_s = (
            None
            if queue_timeout_s is None
            else require_deadline("queue_timeout_s", queue_timeout_s, allow_zero=True)
        )
        self.limits = limits
        self._python_path = [_absolute(entry) for entry in call.python_path]
        self.arguments = encode_arguments(call)

    def frames(self, result_place: str) -> list[bytes]:
        call, arguments = self.call, self.arguments
        header = pickle.dumps(
            CallHeader(
                call.code,
                call.function_name,
                self._python_path,
                call.env,
                result_place,
                call.seed,
                self.limits,
                arguments.maps,
            ),
            protocol=5,
        )
        return [
            frame_prefix(len(header)) + header,
            frame_prefix(len(arguments.pickled)),
            arguments.pickled,
        ]


def _absolute(folder: str) -> str:
    # A relative folder is relative to the caller's current folder, not to the worker's.
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    except FileNotFoundError as error:
        raise InvalidCallError(
            f"python_path holds the relative folder {folder!r}, and this process's current folder is gone"
        ) from error


class Pool:
    """One life of a backend, from its first call to its shutdown."""

    def __init__(self, backend: LocalBackend, hooks: HookDispatcher) -> None:
        config = backend.config
        self._names_results = backend._names_results
        self._results = config.sandbox.format_of_results
        self._spill = SpillDirectory(config.spill_dir)
        try:
            source = backend._worker_source(self._spill)
            self._dispatcher = Dispatcher(config, source, self._spill, hooks)
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
        place = self._spill.new_path() if self._names_results else self._spill.folder
        ending = await self._ending(request, place)
        try:
            outcome = await self._read_outcome(ending, request, place)
        finally:
            if ending.may_have_spilled:
                self._remove_result(place)
            if ending.file is not None:
                ending.file.close()
        if isinstance(outcome.error, SpillError):
            self._spill.repair()
        return outcome

    async def _ending(self, request: _Request, place: str) -> Ending:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ending] = loop.create_future()
        arguments = request.arguments
        job = Job(
            request.frames(place),
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            on_ended=functools.partial(self._deliver, loop, ended, place),
            files=arguments.files,
            own_bytes=arguments.own_bytes,
            limits=request.limits,
            shared=SharedFiles(arguments.shared_inodes, arguments.shared_bytes),
        )
        self._dispatcher.submit(job)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._dispatcher.cancel(job)
            try:
                await asyncio.wait([ended])  # until the worker is dead
            finally:
                self._remove_result(place)  # the answer may have come first
            raise
        except GeneratorExit:  # the loop was closed under the call; nobody waits any more
            self._dispatcher.cancel(job)
            self._remove_result(place)
            raise

    def _deliver(
        self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Ending], place: str, ending: Ending
    ) -> None:
        """Hand the ending over to the caller's loop. Runs on the dispatcher's thread."""
        if ending.kind is not EndingKind.ANSWERED:
            self._remove_result(place)  # a killed worker may have been writing it
        try:
            loop.call_soon_threadsafe(ended.set_result, ending)
        except RuntimeError:  # the caller's loop was closed under its call: nobody will read the result
            self._remove_result(place)

    def _remove_result(self, place: str) -> None:
        if self._names_results:
            remove_spill(place)

    async def _read_outcome(self, ending: Ending, request: _Request, place: str) -> Outcome:
        result = ending.result
        unreadable: GigaexecError | None = None
        if result is not None and result.layout is not None:
            try:
                if result.inline_value is not None:
                    value = decode_value(
                        memoryview(bytearray(result.inline_value)), result.layout, self._results
                    )
                elif ending.file is not None:
                    # A large value takes long to decode; the event loop goes on meanwhile.
                    value = await asyncio.to_thread(
                        read_value_file, ending.file, result.layout, self._results
                    )
                else:
                    value = await asyncio.to_thread(read_spilled_value, place, result.layout)
                return successful_outcome(ending, value)
            except GigaexecError as error:
                unreadable = error
        return failed_outcome(
            ending,
            deadline_s=request.deadline_s,
            queue_timeout_s=request.queue_timeout_s,
            unreadable=unreadable,
        )
