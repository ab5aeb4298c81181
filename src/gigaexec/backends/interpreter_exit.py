"""Shutting backends down before the interpreter waits for threads at its exit.

`atexit` is too late: before its functions run, the interpreter joins loky's threads, which wait for tasks
that only a shutdown ends. concurrent.futures and loky have the same need and use the same hook, which runs
the newest function first: ours must be registered after loky's, so after loky's first start of a worker.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any, Protocol

logger = logging.getLogger(__name__)

_JOIN_LIMIT_S = 30.0


class Closing(Protocol):
    def close_at_exit(self, timeout_s: float) -> None: ...


_lock = threading.Lock()
_open: weakref.WeakSet[Any] = weakref.WeakSet()
_is_registered = False


def close_at_exit(backend: Closing) -> None:
    """Have `backend.close_at_exit(timeout_s)` called when the interpreter begins to exit."""
    global _is_registered
    with _lock:
        _open.add(backend)
        if not _is_registered:
            _is_registered = True
            _register(_close_all)


def interpreter_is_exiting() -> bool:
    """Whether the interpreter has begun to exit, so that no thread and no process can be started."""
    try:
        _register(_do_nothing)
    except RuntimeError:
        return True
    return False


def _register(function: Any) -> None:
    threading._register_atexit(function)  # type: ignore[attr-defined]


def _do_nothing() -> None:
    pass


def _close_all() -> None:
    for backend in tuple(_open):
        try:
            backend.close_at_exit(_JOIN_LIMIT_S)
        except Exception:  # the other backends must be closed all the same
            logger.exception("a backend could not be shut down at exit")
