"""What a backend is, and the dispatch of lifecycle hooks.

To add a backend, write a class with

    async def execute(self, call, *, deadline_s) -> value      raises the errors of gigaexec.errors
    async def shutdown(self, *, wait=False) -> None

That is enough for `run_exec_runner`, the stages and the command line. Add

    async def run(self, call, *, deadline_s, queue_timeout_s=None) -> Outcome

and callers get metrics, captured output and the three clocks as well (without it, an `Outcome` is made
from what `execute` returns or raises). Make it `LifecycleObservable` by owning a `HookDispatcher`.
Then add it to the list in tests/contract: one suite runs over every backend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from gigaexec.calls import ExecutionMetrics, Outcome, WorkerCall

logger = logging.getLogger(__name__)

SubmitHandler = Callable[[WorkerCall], object]
CompleteHandler = Callable[[WorkerCall, ExecutionMetrics | None, BaseException | None], object]
ShutdownHandler = Callable[[], object]


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
        self, call: WorkerCall, *, deadline_s: float, queue_timeout_s: float | None = None
    ) -> Outcome:
        """Run one call and return how it ended. The call's own failure is never raised.

        Args:
            call: What to run.
            deadline_s: Seconds that it may run.
            queue_timeout_s: Seconds that it may wait for a worker; None is no limit.

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


class HookDispatcher:
    """Holds the handlers of one backend and calls them."""

    def __init__(self) -> None:
        self._submit: list[SubmitHandler] = []
        self._complete: list[CompleteHandler] = []
        self._shutdown: list[ShutdownHandler] = []

    def add_submit(self, handler: SubmitHandler) -> None:
        self._submit.append(handler)

    def add_complete(self, handler: CompleteHandler) -> None:
        self._complete.append(handler)

    def add_shutdown(self, handler: ShutdownHandler) -> None:
        self._shutdown.append(handler)

    def clear(self) -> None:
        """Forget every handler."""
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


def _notify(event: str, handlers: list[Any], *args: object) -> None:
    for handler in tuple(handlers):
        try:
            handler(*args)
        except Exception:  # a handler is the user's code: its failure must not reach the call
            logger.exception("an %s handler raised: %r", event, handler)
