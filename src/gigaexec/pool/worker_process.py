"""The interfaces `WorkerProcess` and `WorkerStarter`, and the disposal of ended processes.

Each kind of worker implements the two interfaces.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from gigaexec.measured import Usage
from gigaexec.pool.failure_log import log_failure
from gigaexec.wire.control import StartRefusal
from gigaexec.wire.descriptors import OwnedDescriptor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPipes:
    """The driver's ends of a worker's channel and pipes.

    The worker dies when `lifeline` is closed. If `lifeline` is None, the worker dies when `channel` is
    closed.
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
    """Resource usage of a call's processes, reported by a process that the program cannot tamper with.

    Args:
        peak_rss_kb: Peak resident memory of the process with the largest peak, KiB.
        used: CPU time, context switches and page faults of all processes together.
    """

    peak_rss_kb: int
    used: Usage


class WorkerProcess(ABC):
    """A started worker process. Created by a `WorkerStarter`, owned by a `WorkerHandle`."""

    pid: int
    """Process id of the worker; 0 while it is unknown, and if the worker died before its handshake."""

    @abstractmethod
    def open_pidfd(self) -> int | None:
        """Return a pidfd of the process, which the caller must close.

        None if the system has no pidfds, or if the handshake brings the pidfd.
        """

    @abstractmethod
    def has_ended(self) -> bool:
        """True if the process is dead. May reap the process. Used on systems without pidfds."""

    @abstractmethod
    def kill(self, pidfd: int | None) -> Generator[float, None, bool]:
        """Kill the process and all its descendants, in parts. Returns False if some may be left.

        Yields the pause before the next part, in seconds: see `process_tree.Killing`.
        """

    @abstractmethod
    def exit_code(self) -> int | None:
        """Return the exit code of the ended process, or minus the signal's number; None if it is unknown."""

    @abstractmethod
    def forget_after_fork(self) -> None:
        """Forget the process in a forked child. The process belongs to the parent."""

    @abstractmethod
    def dispose(self) -> None:
        """Release all resources that the driver keeps for the ended process. May block."""


class SupervisedProcess(WorkerProcess):
    """A worker that runs one call, below a root process whose end ends all processes of the call.

    The root process is PID 1 of the call's PID namespace, or a supervisor. A template forks root and worker,
    so the driver learns the two pids in a handshake: the worker's first message brings a pidfd of the root
    and a pidfd of the worker.
    """

    root_pid: int
    """Process id of the root process; 0 before the handshake."""

    template: object
    """The template that the worker was forked from. If the template dies, its workers die."""

    @abstractmethod
    def handshake_descriptor(self) -> int:
        """Return a descriptor that becomes readable if the worker fails before the handshake."""

    @abstractmethod
    def complete_handshake(self, files: Sequence[OwnedDescriptor]) -> int:
        """Take the descriptors of the first message. Returns the root's pidfd, which the caller must close.

        Raises:
            ValueError: The descriptors are not two pidfds.
        """

    @abstractmethod
    def is_worker_dead(self) -> bool:
        """True if the worker is dead. The root process may still be alive."""

    @abstractmethod
    def is_dead_unreaped(self) -> bool:
        """True if all processes of the call are known to be dead, but the template has not reaped them."""

    @abstractmethod
    def permanent_refusal(self) -> str:
        """Return the template's reason why it can never start a worker; "" if there is no such reason."""

    @abstractmethod
    def start_failure(self) -> StartRefusal | None:
        """Return why the worker did not start, or ended without an exit code; None if that is unknown."""

    @abstractmethod
    def account(self) -> KernelAccount | None:
        """Return the resource usage that the kernel measured for the ended call; None if not reported."""

    @abstractmethod
    def open_file_of_worker(self, number: int) -> OwnedDescriptor:
        """Open the worker's descriptor `number` once more, for reading. Raises OSError if this fails."""

    @abstractmethod
    def scratch_bytes(self, max_entries: int) -> int:
        """Return the disk space of the scratch folder in bytes. Counts at most `max_entries` entries."""


class WorkerStarter(ABC):
    """Starts the workers of one pool. Used on the dispatcher's thread only."""

    spares: int = 0
    """Number of idle workers that a new pool keeps ready, in addition to its busy workers."""

    leaves_orphans: bool = False
    """True if a worker that dies may leave processes behind, which must be searched for and killed."""

    @abstractmethod
    def start_worker(self, worker_id: str) -> tuple[WorkerProcess, WorkerPipes]:
        """Start a worker with the given id. May raise any exception, but then leaves nothing behind."""

    def retire_template(self, process: SupervisedProcess) -> None:  # noqa: ARG002 - for overrides
        """Start no more workers from the template of `process`, because the template hangs."""
        return

    def forget(self, process: WorkerProcess) -> None:  # noqa: ARG002 - for overrides
        """Forget a worker that is dead or did not start."""
        return

    def on_idle(self) -> None:
        """Release what only workers need, such as the template.

        Called after the pool's last worker ended because it was idle.
        """
        return

    def close(self) -> None:
        """Release everything. Called when each worker is dead, or will die because its channel is closed."""
        return

    def close_after_fork(self) -> None:
        """Close the inherited descriptors in a forked child."""
        return


class Disposer:
    """Disposes of a pool's ended processes on a separate thread, because `dispose` may block.

    Args:
        pool_id: The pool's id, for the thread's name and for log messages.

    Raises:
        RuntimeError: No thread can be started.
    """

    def __init__(self, pool_id: str) -> None:
        self._pool_id = pool_id
        self._processes: queue.SimpleQueue[WorkerProcess | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"gigaexec-{pool_id}-disposer", daemon=True)
        self._thread.start()

    def dispose_of(self, process: WorkerProcess) -> None:
        """Call `process.dispose()` on the disposer's thread. Returns at once."""
        self._processes.put(process)

    def close(self) -> None:
        """End the thread after all queued processes were disposed of. Returns at once."""
        self._processes.put(None)

    def join(self) -> None:
        """Wait for the end of the thread. Call `close` first."""
        self._thread.join()

    def _run(self) -> None:
        while (process := self._processes.get()) is not None:
            try:
                process.dispose()
            except Exception as error:  # noqa: BLE001 - the process is dead; only internal clean-up has failed
                text = "pool %s: the resources of an ended worker were not released"
                log_failure(logger, logging.WARNING, error, text, self._pool_id)
