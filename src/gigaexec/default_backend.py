"""The process-wide default backend."""

from __future__ import annotations

import threading

from gigaexec.backends.local.loky import LokyBackend

_default_lock = threading.Lock()


_default: LokyBackend | None = None


def default_loky_backend() -> LokyBackend:
    """Return the process-wide backend, made on first use from `WorkerConfig.from_env()`."""
    global _default
    with _default_lock:
        if _default is None:
            _default = LokyBackend()
        return _default


def shutdown_executor(*, wait: bool = False) -> None:
    """Shut the default backend down and forget it with its handlers. The next use makes a fresh one.

    Args:
        wait: Return when its workers are gone.
    """
    global _default
    with _default_lock:
        backend, _default = _default, None
    if backend is not None:
        backend.shutdown_now(wait=wait)
        backend.clear_hooks()
