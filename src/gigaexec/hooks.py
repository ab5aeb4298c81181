"""Lifecycle hooks: the types of handlers, and the dispatcher that calls them.

`backends.contract` says when and on which thread each handler runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gigaexec.calls import ExecutionMetrics, WorkerCall

logger = logging.getLogger(__name__)

SubmitHandler = Callable[[WorkerCall], object]
"""Called with the call."""

CompleteHandler = Callable[[WorkerCall, ExecutionMetrics | None, BaseException | None], object]
"""Called with the call, its metrics if they are known, and its error or None."""

ShutdownHandler = Callable[[], object]
"""Called without arguments."""

WorkerStartHandler = Callable[[str, int], object]
"""Called with the worker's id and its process id."""

WorkerExitHandler = Callable[[str, int, "int | None"], object]
"""Called with the worker's id, its process id, and its exit code, minus a signal's number, or None."""


class HookDispatcher:
    """Holds the handlers of one backend and calls them in the order of registration.

    A handler that raises is logged with the event's name. The exception stops neither the other handlers nor
    the caller.
    """

    def __init__(self) -> None:
        self._submit: list[SubmitHandler] = []
        self._complete: list[CompleteHandler] = []
        self._shutdown: list[ShutdownHandler] = []
        self._worker_start: list[WorkerStartHandler] = []
        self._worker_exit: list[WorkerExitHandler] = []

    def add_submit(self, handler: SubmitHandler) -> None:
        """Add a handler that `submitted` calls."""
        self._submit.append(handler)

    def add_complete(self, handler: CompleteHandler) -> None:
        """Add a handler that `completed` calls."""
        self._complete.append(handler)

    def add_shutdown(self, handler: ShutdownHandler) -> None:
        """Add a handler that `shut_down` calls."""
        self._shutdown.append(handler)

    def add_worker_start(self, handler: WorkerStartHandler) -> None:
        """Add a handler that `worker_started` calls."""
        self._worker_start.append(handler)

    def add_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Add a handler that `worker_exited` calls."""
        self._worker_exit.append(handler)

    def clear(self) -> None:
        """Remove every handler."""
        self._worker_start.clear()
        self._worker_exit.clear()
        self._submit.clear()
        self._complete.clear()
        self._shutdown.clear()

    def submitted(self, call: WorkerCall) -> None:
        """Report a call that is about to be dispatched."""
        _notify("on_submit", self._submit, call)

    def completed(
        self, call: WorkerCall, metrics: ExecutionMetrics | None, error: BaseException | None
    ) -> None:
        """Report a call that has ended. Once per submitted call."""
        _notify("on_complete", self._complete, call, metrics, error)

    def shut_down(self) -> None:
        """Report that the backend is being shut down."""
        _notify("on_shutdown", self._shutdown)

    def worker_started(self, worker_id: str, pid: int) -> None:
        """Report a worker process that is ready for its first call."""
        _notify("on_worker_start", self._worker_start, worker_id, pid)

    def worker_exited(self, worker_id: str, pid: int, exit_code: int | None) -> None:
        """Report a worker process that is dead."""
        _notify("on_worker_exit", self._worker_exit, worker_id, pid, exit_code)


def _notify(event: str, handlers: list[Any], *args: object) -> None:
    for handler in tuple(handlers):
        try:
            handler(*args)
        except Exception:  # the user's code may raise anything, and must not make the call fail
            logger.exception("an %s handler raised: %r", event, handler)
