"""The contract of a backend.

A backend is a class with

    async def execute(self, call, *, deadline_s) -> value      raises the errors of gigaexec.errors
    async def shutdown(self, *, wait=False) -> None

These two methods suffice for `run_exec_runner`, `map_calls`, the stages and `evaluate_programs`: the
`Outcome` of a call is then made from the value or the exception of `execute`. With a third method

    async def run(self, call, *, deadline_s, queue_timeout_s=None, limits=None) -> Outcome

callers also get metrics, captured output, and the times of queueing, starting and running. A backend with
hooks owns a `HookDispatcher`. Such a backend is `LifecycleObservable`, and also `WorkerObservable` if it
starts workers.

`make_backend` makes a backend by name if the only argument of the class is an optional `WorkerConfig`, and by
URL if the class has a class method `from_url(url, config=None)`. Making a backend must start nothing: no
process, no thread, no connection.

docs/how-to/add-a-backend.md shows a complete example. The test suite in tests/contract runs on every backend.
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
    """The contract of a backend. A backend runs each `WorkerCall` in a worker process."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        """Run one call and return its value.

        May be called on any thread, in any event loop, and concurrently. When this method returns or raises,
        no process of the call is running any more.

        Do not let the value be the result of a task, as in `asyncio.run(backend.execute(...))`: asyncio makes
        reprs of finished tasks, and the repr of a value can run code of the program. Use `gigaexec.run`, or
        the outcome of `run`.

        Args:
            call: The call to run.
            deadline_s: Maximum run time of the call, seconds. The wait for a worker does not count.

        Raises:
            ExecRunnerError: The program failed, or its process crashed.
            CallTimeoutError: The call ran longer than its deadline and was killed. The error is also a
                `TimeoutError`.
            CallCancelledError: The backend was shut down during the call.
            ConfigurationError: The call or the deadline is not valid. Nothing was started.
            InfrastructureError: gigaexec or the machine failed.
            asyncio.CancelledError: The awaiting task was cancelled, and the call was killed.
        """
        ...

    async def shutdown(self, *, wait: bool = False) -> None:
        """End all workers. Running and queued calls end as cancelled.

        May be called in another event loop and on another thread than `execute`; `shutdown_executor` does so.

        Args:
            wait: True to return only when all workers are dead and every spill file is removed.
        """
        ...


@runtime_checkable
class OutcomeBackend(ExecutorBackend, Protocol):
    """A backend that returns an `Outcome` for a call: value, metrics, captured output and times."""

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
            call: The call to run.
            deadline_s: Maximum run time of the call, seconds. The wait for a worker does not count.
            queue_timeout_s: Longest wait for a worker, seconds; None is no limit.
            limits: Limits of the call. In these limits, None keeps the backend's limit.

        Raises:
            ConfigurationError: The call, the deadline or a limit is not valid. Nothing was started.
            asyncio.CancelledError: The awaiting task was cancelled, and the call was killed.
        """
        ...


@runtime_checkable
class LifecycleObservable(Protocol):
    """A backend with hooks for calls. Handlers run in the driver, in the order of registration.

    An exception of a handler is logged with the event's name, and stops neither the other handlers nor the
    call.
    """

    def on_submit(self, handler: SubmitHandler) -> None:
        """Register `handler(call)`, which runs on the submitting thread just before the dispatch."""
        ...

    def on_complete(self, handler: CompleteHandler) -> None:
        """Register `handler(call, metrics or None, exception or None)`, which runs once per call."""
        ...

    def on_shutdown(self, handler: ShutdownHandler) -> None:
        """Register `handler()`, which runs once when the backend is shut down."""
        ...


@runtime_checkable
class WorkerObservable(Protocol):
    """A backend with hooks for worker processes. Handlers run in the driver, on a thread of the pool.

    Calls wait while a handler runs. So a handler must return quickly, and must not wait for the backend. An
    exception of a handler is logged with the event's name, and stops neither the other handlers nor the pool.
    """

    def on_worker_start(self, handler: WorkerStartHandler) -> None:
        """Register `handler(worker_id, pid)`, which runs when a worker is ready for its first call."""
        ...

    def on_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Register `handler(worker_id, pid, exit)`, which runs once for each started worker after its death.

        `exit` is the exit code, the negative signal number, or None if unknown: for example if the process
        that reports exit codes died too.
        """
        ...
