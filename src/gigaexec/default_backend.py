"""Shared backends of this process: one for each name or URL. One of them is the default backend."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.backends.registry import make_backend, redacted_url, require_backend_name
from gigaexec.config import DEFAULT_BACKEND_VARIABLE, read_variable
from gigaexec.errors import ConfigurationError

if TYPE_CHECKING:
    from gigaexec.backends.local.loky import LokyBackend

logger = logging.getLogger(__name__)

_SHUTDOWN_LIMIT_S = 30.0

# Not guarded by a lock: if a thread forked while another thread held the lock, the child could never acquire
# the lock. Each operation on a dict is atomic.
_shared: dict[str, ExecutorBackend] = {}
_default: str | None = None
_exit_pid = 0


def resolve_backend(backend: ExecutorBackend | str | None) -> ExecutorBackend:
    """Return the backend object for an argument `backend`.

    A backend object is returned unchanged. A name or URL gives the shared backend of that name or URL, and
    None gives the default backend. A shared backend is created on first use with `WorkerConfig.from_env()`.
    It is shut down by `shutdown_executor`, or when the interpreter exits.

    Raises:
        ConfigurationError: `backend` is not a backend, a name or a URL; no backend has this name; or the
            backend cannot be created.
    """
    if backend is None:
        return _shared_backend(_default_name())
    if hasattr(backend, "execute"):
        return cast("ExecutorBackend", backend)
    require_backend_name(backend)
    return _shared_backend(backend)


def default_loky_backend() -> LokyBackend:
    """Return the shared `LokyBackend` of this process, created on first use with `WorkerConfig.from_env()`.

    It is the default backend, unless the variable `GIGAEVO_EXECUTOR_BACKEND` names another backend.
    """
    return cast("LokyBackend", _shared_backend("loky"))


def shutdown_executor(*, wait: bool = False) -> None:
    """Shut down all shared backends, including the default backend, and remove their handlers.

    If the default backend, or a backend given by name or URL, is used again later, a new backend is created.

    Args:
        wait: True to return only when all workers have ended.
    """
    global _default
    _default = None
    while _shared:
        try:
            _, backend = _shared.popitem()
        except KeyError:  # another thread has just removed the last backend
            return
        if hasattr(backend, "shutdown_now"):
            backend.shutdown_now(wait=wait)
        else:
            # asyncio.run() needs another thread, because this thread may already run an event loop.
            with ThreadPoolExecutor(1, "gigaexec-shutdown") as thread:
                thread.submit(asyncio.run, backend.shutdown(wait=wait)).result()
        if hasattr(backend, "clear_hooks"):
            backend.clear_hooks()


def _default_name() -> str:
    global _default
    name = _default
    if name is None:
        name = read_variable(DEFAULT_BACKEND_VARIABLE, str, "a name") or "loky"
        try:
            require_backend_name(name)
        except ConfigurationError as error:
            logger.warning("%s: %s. The default backend, loky, is used", DEFAULT_BACKEND_VARIABLE, error)
            name = "loky"
        _default = name
    return name


def _shared_backend(name_or_url: str) -> ExecutorBackend:
    found = _shared.get(name_or_url)
    if found is not None:
        return found
    # Two threads may each create a backend here. An unused backend has started nothing and can be dropped.
    found = _shared.setdefault(name_or_url, make_backend(name_or_url))
    _register_exit()
    return found


def _register_exit() -> None:
    global _exit_pid
    if _exit_pid != os.getpid():
        _exit_pid = os.getpid()
        atexit.register(_close_shared, _exit_pid)


def _close_shared(pid: int) -> None:
    if pid != os.getpid():
        return  # this process is a forked child, and the backends belong to its parent
    for name, backend in list(_shared.items()):
        if hasattr(backend, "close_at_exit"):
            continue  # a local backend: close_at_exit() has already shut it down
        try:
            asyncio.run(asyncio.wait_for(backend.shutdown(wait=True), _SHUTDOWN_LIMIT_S))
        except Exception:  # the other backends must still be shut down
            logger.exception("backend %s could not be shut down at exit", redacted_url(name))
