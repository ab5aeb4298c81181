"""A worker's process and its starter, as a pool uses them, and the disposal of ended processes.

Each kind of worker implements `WorkerProcess` and `WorkerStarter`.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gigaexec.measured import Usage
from gigaexec.wire.control import StartRefusal
from gigaexec.wire.descriptors import OwnedDescriptor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPipes:
    """The driver's ends of a worker's channel and pipes.

    The worker dies when `lifeline` closes; if that is None, when `channel` closes.
    """

    channel: socket.socket
    lifeline: int | None
    stdout: int
    stderr: int

    def close(self) -> None:
        self.channel.close()
        for descriptor in (self.lifeline, self.stdout, self.stderr):
            if descriptor is not None:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class KernelAccount:
    """The kernel's account of a call's processes, reported by a process that the program cannot reach.

    Args:
        peak_rss_kb: The largest process's peak of resident memory, KiB.
        used: Resources that all processes used together.
    """

    peak_rss_kb: int
    used: Usage


class WorkerProcess(ABC):
    """A started worker process. Made by a starter, owned by a `WorkerHandle`."""

    pid: int
    """Process id; 0 before it is known."""

    @abstractmethod
    def open_pidfd(self) -> int | None:
        """Return a pidfd, which the caller closes; None if the system has none, or before the handshake."""

    @abstractmethod
    def has_ended(self) -> bool:
        """True if the process is dead. For systems without pidfds; the call may reap the process."""

    @abstractmethod
    def kill(self, pidfd: int | None) -> bool:
        """Kill the process and everything it started. Returns True if no process of the tree can be left."""

    @abstractmethod
    def exit_code(self) -> int | None:
        """Return the ended process's exit code, or minus its signal's number; None if it is unknown."""

    @abstractmethod
    def forget_after_fork(self) -> None:
        """In a forked child: drop the process, which belongs to the parent."""

    @abstractmethod
    def dispose(self) -> None:
        """Release everything that the driver holds for the ended process. May block."""


class SupervisedProcess(WorkerProcess):
    """A worker that runs one call, below a process that ends all processes of the call.

    That process, the root, is process 1 of the call's PID namespace or a supervisor. Both root and worker are
    forked by a template, so the driver learns their ids in a handshake: the worker's first message brings a
    pidfd of each.
    """

    root_pid: int
    """Process id of the root; 0 before the handshake."""

    template: object
    """The template that the worker was forked from. If the template dies, its workers die."""

    @abstractmethod
    def handshake_descriptor(self) -> int:
        """Return a descriptor whose end of file means that the process failed before the handshake."""

    @abstractmethod
    def complete_handshake(self, files: Sequence[OwnedDescriptor]) -> int:
        """Take the descriptors of the first message. Returns the root's pidfd, which the caller closes.

        Raises:
            ValueError: The descriptors are not two pidfds.
        """

    @abstractmethod
    def is_worker_dead(self) -> bool:
        """True if the worker is dead; the root may still be alive."""

    @abstractmethod
    def is_dead_unreaped(self) -> bool:
        """True if all processes of the call are dead and only the template has not reaped them."""

    @abstractmethod
    def permanent_refusal(self) -> str:
        """Return the template's reason why no worker will ever start there; "" if it gave none."""

    @abstractmethod
    def start_failure(self) -> StartRefusal | None:
        """Return why the worker did not start, or ended without an exit code; None if that is unknown."""

    @abstractmethod
    def account(self) -> KernelAccount | None:
        """Return the kernel's account of the ended call; None if nobody reported it."""

    @abstractmethod
    def open_file_of_worker(self, number: int) -> OwnedDescriptor:
        """Open for reading the file behind descriptor `number` of the living worker. Raises OSError."""

    @abstractmethod
    def scratch_bytes(self, max_entries: int) -> int:
        """Return the disk space of the scratch folder, counting at most `max_entries` entries."""


class WorkerStarter(ABC):
    """Starts the workers of one pool. Used on the dispatcher's thread only."""

    spares: int = 0
    """Number of idle workers to keep ready in addition to the running calls, from the start."""

    leaves_orphans: bool = False
    """True if a worker that dies may leave processes behind, which must be searched for and killed."""

    @abstractmethod
    def start_worker(self, worker_id: str) -> tuple[WorkerProcess, WorkerPipes]:
        """Start the worker with that id. May raise anything; no process or descriptor is left then."""

    def retire_template(self, process: SupervisedProcess) -> None:  # noqa: ARG002 - most starters ignore it
        """Start no more workers with the template of `process`, which hangs."""
        return

    def forget(self, process: WorkerProcess) -> None:  # noqa: ARG002 - most starters ignore it
        """Drop a worker that is dead or did not start."""
        return

    def on_idle(self) -> None:
        """Release resources that no worker needs: the last one ended because it was idle."""
        return

    def close(self) -> None:
        """Release everything. Called when the pool's last worker is gone, or dies when its channels close."""
        return

    def close_after_fork(self) -> None:
        """In a forked child: close the inherited descriptors."""
        return


class Disposer:
    """Disposes of a pool's ended processes on a separate thread, because that may block.

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
