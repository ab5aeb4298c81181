"""What a backend is, and the dispatch of lifecycle hooks.

To add a backend, write a class with

    async def execute(self, call, *, deadline_s) -> value      raises the errors of gigaexec.errors
    async def shutdown(self, *, wait=False) -> None

That is enough for `run_exec_runner`, `map_calls`, the stages and `evaluate_programs`. Add

    async def run(self, call, *, deadline_s, queue_timeout_s=None, limits=None) -> Outcome

and callers get metrics, captured output and the three clocks as well (without it, an `Outcome` is made
from what `execute` returns or raises). Make it `LifecycleObservable`, and `WorkerObservable`, by owning a
`HookDispatcher`.
Then add it to the list in tests/contract: one suite runs over every backend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from gigaexec.calls import ExecutionMetrics, Outcome, WorkerCall
from gigaexec.limits import Limits

logger = logging.getLogger(__name__)

SubmitHandler = Callable[[WorkerCall], object]
CompleteHandler = Callable[[WorkerCall, ExecutionMetrics | None, BaseException | None], object]
ShutdownHandler = Callable[[], object]
WorkerStartHandler = Callable[[str, int], object]
WorkerExitHandler = Callable[[str, int, "int | None"], object]


@runtime_checkable
class ExecutorBackend(Protocol):
    """Runs calls somewhere."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        """Run one call and return its value.

        Args:
            call: What to run.
            deadline_s: Seconds that it may run, counted from the moment a worker takes it.

        Raises:
            ExecRunnerError: The program failed, or its process crashed.
            TimeoutError: It overran its deadline and was killed (a `CallTimeoutError`).
            ConfigurationError: The call or the deadline makes no sense; nothing was started.
            InfrastructureError: gigaexec or the machine failed.
            asyncio.CancelledError: The awaiting task was cancelled; the call was killed.
        """
        ...

    async def shutdown(self, *, wait: bool = False) -> None:
        """End all workers. With `wait`, return when they are gone and every spill file is removed."""
        ...


@runtime_checkable
class OutcomeBackend(ExecutorBackend, Protocol):
    """A backend that reports outcomes, not only values."""

    async def run(
        self,
        call: WorkerCall,
        *,
        deadline_s: float,
        queue_timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Run one call and return how it ended. The call's own failure is never raised.

        Args:
            call: What to run.
            deadline_s: Seconds that it may run.
            queue_timeout_s: Seconds that it may wait for a worker; None is no limit.
            limits: What it may use; those that are None are as the backend has them.

        Raises:
            ConfigurationError: The call or a limit makes no sense; nothing was started.
            asyncio.CancelledError: The awaiting task was cancelled; the call was killed.
        """
        ...


@runtime_checkable
class LifecycleObservable(Protocol):
    """Tells handlers about calls. All handlers run in the driver, in the order of registration.

    A handler that raises is logged with the event's name; it stops neither the others nor the call.
    """

    def on_submit(self, handler: SubmitHandler) -> None:
        """Register `handler(call)`: runs just before a call is dispatched, on the submitting thread."""
        ...

    def on_complete(self, handler: CompleteHandler) -> None:
        """Register `handler(call, metrics or None, exception or None)`: runs exactly once a submit."""
        ...

    def on_shutdown(self, handler: ShutdownHandler) -> None:
        """Register `handler()`: runs once when the backend is shut down."""
        ...


@runtime_checkable
class WorkerObservable(Protocol):
    """Tells handlers about worker processes. All handlers run in the driver, on a thread of the pool.

    A handler must return quickly, because calls wait meanwhile, and must not wait for the backend itself. One
    that raises is logged with the event's name; it stops neither the others nor the pool.
    """

    def on_worker_start(self, handler: WorkerStartHandler) -> None:
        """Register `handler(worker_id, pid)`: runs when a worker process is ready for its first call."""
        ...

    def on_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Register `handler(worker_id, pid, exit)`: runs once for each that started, when it is dead.

        `exit` is its exit code, or minus the signal's number; None where that is not known: the worker was
        killed together with the process that would have told, say.
        """
        ...


class HookDispatcher:
    """Holds the handlers of one backend and calls them."""

    def __init__(self) -> None:
        self._submit: list[SubmitHandler] = []
        self._complete: list[CompleteHandler] = []
        self._shutdown: list[ShutdownHandler] = []
        self._worker_start: list[WorkerStartHandler] = []
        self._worker_exit: list[WorkerExitHandler] = []

    def add_submit(self, handler: SubmitHandler) -> None:
        self._submit.append(handler)

    def add_complete(self, handler: CompleteHandler) -> None:
        self._complete.append(handler)

    def add_shutdown(self, handler: ShutdownHandler) -> None:
        self._shutdown.append(handler)

    def add_worker_start(self, handler: WorkerStartHandler) -> None:
        self._worker_start.append(handler)

    def add_worker_exit(self, handler: WorkerExitHandler) -> None:
        self._worker_exit.append(handler)

    def clear(self) -> None:
        """Forget every handler."""
        self._worker_start.clear()
        self._worker_exit.clear()
        self._submit.clear()
        self._complete.clear()
        self._shutdown.clear()

    def submitted(self, call: WorkerCall) -> None:
        _notify("on_submit", self._submit, call)

    def completed(
        self, call: WorkerCall, metrics: ExecutionMetrics | None, error: BaseException | None
    ) -> None:
        _notify("on_complete", self._complete, call, metrics, error)

    def shut_down(self) -> None:
        _notify("on_shutdown", self._shutdown)

    def worker_started(self, worker_id: str, pid: int) -> None:
        _notify("on_worker_start", self._worker_start, worker_id, pid)

    def worker_exited(self, worker_id: str, pid: int, exit_code: int | None) -> None:
        _notify("on_worker_exit", self._worker_exit, worker_id, pid, exit_code)


def _notify(event: str, handlers: list[Any], *args: object) -> None:
    for handler in tuple(handlers):
        try:
            handler(*args)
        except Exception:  # a handler is the user's code: its failure must not reach the call
            logger.exception("an %s handler raised: %r", event, handler)
