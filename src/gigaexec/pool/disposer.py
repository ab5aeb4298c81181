"""Disposes of ended worker processes on a thread of its own, because that may block."""

from __future__ import annotations

import logging
import queue
import threading

from gigaexec.pool.worker_process import WorkerProcess

logger = logging.getLogger(__name__)


class Disposer:
    """The disposal thread of one pool.

    Args:
        pool_id: For the thread's name and the log.

    Raises:
        RuntimeError: The system refuses a thread.
    """

    def __init__(self, pool_id: str) -> None:
        self._pool_id = pool_id
        self._processes: queue.SimpleQueue[WorkerProcess | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"gigaexec-{pool_id}-disposer", daemon=True)
        self._thread.start()

    def dispose_of(self, process: WorkerProcess) -> None:
        """Have `process.dispose()` called. Returns at once."""
        self._processes.put(process)

    def close(self) -> None:
        """End the thread after everything was disposed of. Returns at once."""
        self._processes.put(None)

    def join(self) -> None:
        """Wait for the end of the thread. Call `close` first."""
        self._thread.join()

    def _run(self) -> None:
        while (process := self._processes.get()) is not None:
            try:
                process.dispose()
            except Exception:  # the process is dead; only the library's own bookkeeping is left
                logger.warning("pool %s: clean-up after a worker failed", self._pool_id, exc_info=True)
