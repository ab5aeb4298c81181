"""Lifecycle hooks: the types of handlers, and the dispatcher that calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gigaexec.calls import ExecutionMetrics, WorkerCall

logger = logging.getLogger(__name__)

SubmitHandler = Callable[[WorkerCall], object]


CompleteHandler = Callable[[WorkerCall, ExecutionMetrics | None, BaseException | None], object]


ShutdownHandler = Callable[[], object]


WorkerStartHandler = Callable[[str, int], object]


WorkerExitHandler = Callable[[str, int, "int | None"], object]


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
