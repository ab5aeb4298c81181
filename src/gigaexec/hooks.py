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
"""Handler of the event on_submit. Its argument is the call."""

CompleteHandler = Callable[[WorkerCall, ExecutionMetrics | None, BaseException | None], object]
"""Handler of the event on_complete. Arguments: the call, its metrics or None, its error or None."""

ShutdownHandler = Callable[[], object]
"""Handler of the event on_shutdown. It takes no arguments."""

WorkerStartHandler = Callable[[str, int], object]
"""Handler of the event on_worker_start. Arguments: the worker's id and its process id."""

WorkerExitHandler = Callable[[str, int, "int | None"], object]
"""Handler of the event on_worker_exit. Arguments: the worker's id, its process id and its exit code.

The exit code is -N if signal N ended the worker, and None if it is unknown.
"""


class HookDispatcher:
    """The handlers of one backend. They are called in the order of registration.

    If a handler raises, the exception is logged with the name of the event. The exception does not reach the
    caller, and the other handlers are still called.
    """

    def __init__(self) -> None:
        self._submit: list[SubmitHandler] = []
        self._complete: list[CompleteHandler] = []
        self._shutdown: list[ShutdownHandler] = []
        self._worker_start: list[WorkerStartHandler] = []
        self._worker_exit: list[WorkerExitHandler] = []

    def add_submit(self, handler: SubmitHandler) -> None:
        """Add a handler, to be called by `submitted`."""
        self._submit.append(handler)

    def add_complete(self, handler: CompleteHandler) -> None:
        """Add a handler, to be called by `completed`."""
        self._complete.append(handler)

    def add_shutdown(self, handler: ShutdownHandler) -> None:
        """Add a handler, to be called by `shut_down`."""
        self._shutdown.append(handler)

    def add_worker_start(self, handler: WorkerStartHandler) -> None:
        """Add a handler, to be called by `worker_started`."""
        self._worker_start.append(handler)

    def add_worker_exit(self, handler: WorkerExitHandler) -> None:
        """Add a handler, to be called by `worker_exited`."""
        self._worker_exit.append(handler)

    def clear(self) -> None:
        """Remove every handler."""
        self._worker_start.clear()
        self._worker_exit.clear()
        self._submit.clear()
        self._complete.clear()
        self._shutdown.clear()

    def submitted(self, call: WorkerCall) -> None:
        """Tell the handlers that a call is about to be dispatched."""
        _notify("on_submit", self._submit, call)

    def completed(
        self, call: WorkerCall, metrics: ExecutionMetrics | None, error: BaseException | None
    ) -> None:
        """Tell the handlers that a call has ended. Must be called once per submitted call."""
        _notify("on_complete", self._complete, call, metrics, error)

    def shut_down(self) -> None:
        """Tell the handlers that the backend is being shut down."""
        _notify("on_shutdown", self._shutdown)

    def worker_started(self, worker_id: str, pid: int) -> None:
        """Tell the handlers that a worker process is ready for its first call."""
        _notify("on_worker_start", self._worker_start, worker_id, pid)

    def worker_exited(self, worker_id: str, pid: int, exit_code: int | None) -> None:
        """Tell the handlers that a worker process is dead."""
        _notify("on_worker_exit", self._worker_exit, worker_id, pid, exit_code)


def _notify(event: str, handlers: list[Any], *args: object) -> None:
    for handler in tuple(handlers):
        try:
            handler(*args)
        except Exception:  # a handler is user code and may raise anything; the call must not fail for that
            logger.exception("the %s handler %r raised an exception", event, handler)
