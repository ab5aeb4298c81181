"""Shut backends down before the exiting interpreter joins its threads.

`atexit` is too late: before the interpreter calls atexit functions, it joins all threads, including those of
the pools. concurrent.futures and loky have the same problem, and use the same hook as this module:
`threading._register_atexit`. A process that multiprocessing started calls these hooks, too.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from typing import Any, Protocol

from gigaexec.pool.live_pools import stop_all

logger = logging.getLogger(__name__)

_JOIN_LIMIT_S = 30.0


class Closing(Protocol):
    """The part of a backend's interface that this module uses."""

    def close_at_exit(self, timeout_s: float) -> None: ...


_lock = threading.Lock()
_open: weakref.WeakSet[Any] = weakref.WeakSet()
_is_registered = False


def close_at_exit(backend: Closing) -> None:
    """Register a backend. Its `close_at_exit(timeout_s)` is called when the interpreter begins to exit."""
    with _lock:
        _open.add(backend)


def worker_was_started() -> None:
    """Register the exit hook, unless already registered. Call this after each start of a worker.

    Raises:
        RuntimeError: The interpreter has begun to exit.
    """
    global _is_registered
    with _lock:
        if not _is_registered:
            _register(_close_all)
            _is_registered = True


def interpreter_is_exiting() -> bool:
    """True if the interpreter has begun to exit. Then no thread and no process can be started any more."""
    try:
        _register(_do_nothing)
    except RuntimeError:
        return True
    return False


def _register(function: Any) -> None:
    threading._register_atexit(function)  # type: ignore[attr-defined]  # private, so not in typeshed


def _do_nothing() -> None:
    pass


def _close_all() -> None:
    for backend in tuple(_open):
        try:
            backend.close_at_exit(_JOIN_LIMIT_S)
        except Exception:  # an error of one backend must not keep the others open
            logger.exception("a %s could not be shut down at exit", type(backend).__name__)
    stop_all(_JOIN_LIMIT_S)


def _forget_after_fork() -> None:
    """In a forked child: forget the backends that the parent uses. The hook of `threading` is inherited."""
    global _lock
    _lock = threading.Lock()  # another thread may have held the old lock at the fork
    _open.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
