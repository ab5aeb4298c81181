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

from typing import Any, Protocol, runtime_checkable

from gigaexec.calls import Outcome, WorkerCall
from gigaexec.hooks import (
    CompleteHandler as CompleteHandler,
    HookDispatcher as HookDispatcher,
    ShutdownHandler as ShutdownHandler,
    SubmitHandler as SubmitHandler,
    WorkerExitHandler as WorkerExitHandler,
    WorkerStartHandler as WorkerStartHandler,
)
from gigaexec.limits import Limits


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
