"""The contract of a backend.

A backend is a class with

    async def execute(self, call, *, deadline_s) -> value      raises the errors of gigaexec.errors
    async def shutdown(self, *, wait=False) -> None

These suffice for `run_exec_runner`, `map_calls`, the stages and `evaluate_programs`: without more, an
`Outcome` is made from what `execute` returns or raises. With

    async def run(self, call, *, deadline_s, queue_timeout_s=None, limits=None) -> Outcome

callers also get metrics, captured output and the three clocks. A backend with hooks owns a `HookDispatcher`:
then it is `LifecycleObservable`, and `WorkerObservable` if it starts workers.

To be made by name (`make_backend`), the class takes a `WorkerConfig` or None as its only argument. To be made
by URL, it has a class method `from_url(url, config=None)`. Making a backend starts nothing: no process, no
thread, no connection.

docs/how-to/add-a-backend.md shows all of it. tests/contract is one suite that runs over every backend.
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
    """Runs calls."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        """Run one call and return its value.

        Called on any thread, in any event loop, several times at once. On return, or when an exception is
        raised, no process of the call is running any more.

        Args:
            call: The call.
            deadline_s: Maximum run time of the call, seconds, from the moment that a worker takes it.

        Raises:
            ExecRunnerError: The program failed, or its process crashed.
            TimeoutError: The call ran longer than its deadline and was killed (a `CallTimeoutError`).
            CallCancelledError: The backend was shut down during the call.
            ConfigurationError: The call or the deadline cannot be used; nothing was started.
            InfrastructureError: gigaexec or the machine failed.
            asyncio.CancelledError: The awaiting task was cancelled; the call was killed.
        """
        ...

    async def shutdown(self, *, wait: bool = False) -> None:
        """End all workers. Running and queued calls end as cancelled.

        `shutdown_executor` calls it in an event loop of its own, on another thread than the calls.

        Args:
            wait: Return when all workers are dead and every spill file is removed.
        """
        ...


@runtime_checkable
class OutcomeBackend(ExecutorBackend, Protocol):
    """A backend that reports outcomes: the value of a call with its cost, output and clocks."""

    async def run(
        self,
        call: WorkerCall,
        *,
        deadline_s: float,
        queue_timeout_s: float | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Run one call and return its outcome. A failure of the call is in the outcome, not raised.

        Args:
            call: The call.
            deadline_s: Maximum run time of the call, seconds, from the moment that a worker takes it.
            queue_timeout_s: Longest wait for a worker, seconds; None is no limit.
            limits: Limits of the call. A limit that is None stays as the backend has it.

        Raises:
            ConfigurationError: The call, the deadline or a limit cannot be used; nothing was started.
            asyncio.CancelledError: The awaiting task was cancelled; the call was killed.
        """
        ...


@runtime_checkable
class LifecycleObservable(Protocol):
    """A backend with hooks for calls. Handlers run in the driver, in the order of registration.

    A handler that raises is logged with the event's name. The exception stops neither the other handlers nor
    the call.
    """

    def on_submit(self, handler: SubmitHandler) -> None:
        """Register `handler(call)`. It runs just before a call is dispatched, on the submitting thread."""
        ...

    def on_complete(self, handler: CompleteHandler) -> None:
        """Register `handler(call, metrics or None, exception or None)`. It runs once per submitted call."""
        ...

    def on_shutdown(self, handler: ShutdownHandler) -> None:
        """Register `handler()`. It runs once when the backend is shut down."""
        ...


@runtime_checkable
class WorkerObservable(Protocol):
    """A backend with hooks for worker processes. Handlers run in the driver, on a thread of the pool.

    Calls wait while a handler runs, so it must return quickly, and it must not wait for the backend. A
    handler that raises is logged with the event's name. The exception stops neither the other handlers nor
    the pool.
    """

    def on_worker_start(self, handler: WorkerStartHandler) -> None:
        """Register `handler(worker_id, pid)`. It runs when a worker process is ready for its first call."""
        ...

    def on_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Register `handler(worker_id, pid, exit)`. It runs once for each started worker, when it is dead.

        `exit` is the exit code, or minus the signal's number; None if it is not known, for example because
        the process that would have reported it died too.
        """
        ...
