"""Shutting backends down before the interpreter waits for threads at its exit.

`atexit` is too late: before its functions run, the interpreter waits for threads, the pool's own among them.
concurrent.futures and loky have the same need and use the same hook. loky's would wait for its threads before
this module could end their tasks; so workers are started without loky's exit hook knowing of them.

A process that multiprocessing started joins its children, the workers among them, even before that hook runs.
There a finalizer of multiprocessing does the same.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from multiprocessing.util import Finalize
from typing import Any, Protocol

from gigaexec.pool.live_pools import stop_all

logger = logging.getLogger(__name__)

_JOIN_LIMIT_S = 30.0
_BEFORE_ALL_OTHERS = 1_000_000


class Closing(Protocol):
    def close_at_exit(self, timeout_s: float) -> None: ...


_lock = threading.Lock()
_open: weakref.WeakSet[Any] = weakref.WeakSet()
_is_registered = False
_finalizer_pid = 0


def close_at_exit(backend: Closing) -> None:
    """Have `backend.close_at_exit(timeout_s)` called when the interpreter begins to exit."""
    with _lock:
        _open.add(backend)


def worker_was_started() -> None:
    """Register the hook, if it is not registered yet. To be called after each start of a worker.

    Raises:
        RuntimeError: The interpreter has begun to exit.
    """
    global _is_registered, _finalizer_pid
    with _lock:
        if not _is_registered:
            _register(_close_all)
            _is_registered = True
        if _finalizer_pid != os.getpid():  # a child of multiprocessing forgets the finalizers of its parent
            Finalize(None, _close_all, exitpriority=_BEFORE_ALL_OTHERS)
            _finalizer_pid = os.getpid()


def interpreter_is_exiting() -> bool:
    """Whether the interpreter has begun to exit, so that no thread and no process can be started."""
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
        except Exception:  # the other backends must be closed all the same
            logger.exception("a backend could not be shut down at exit")
    stop_all(_JOIN_LIMIT_S)
