"""What a pool needs to know of a worker's process, whoever starts it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gigaexec.measured import Usage
from gigaexec.wire.descriptors import OwnedDescriptor


@dataclass(frozen=True, slots=True)
class WorkerPipes:
    """The driver's ends. The worker dies when `lifeline` closes; None: when the channel does."""

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
    """What the kernel counted of a call's processes, told by one that the program cannot reach.

    Args:
        peak_rss_kb: The largest process's peak of resident memory, KiB.
        used: What all of them used.
    """

    peak_rss_kb: int
    used: Usage


class WorkerProcess(Protocol):
    """A started process. Made by a backend, owned by a `WorkerHandle`."""

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is known."""
        ...

    @property
    def is_single_use(self) -> bool:
        """Whether it runs one call and ends, so that all it has used is the call's."""
        ...

    @property
    def origin(self) -> object:
        """What it was forked from, whose end is the end of all that come from it. None: it stands alone."""
        ...

    @property
    def root_pid(self) -> int:
        """The process that adopts what the call's processes orphan, and whose end is the end of all of them;
        0 before it is known.
        """
        ...

    def open_pidfd(self) -> int | None:
        """Return a pidfd of the root, which the caller closes. None: not to be had, or not yet."""
        ...

    def introduction(self) -> int | None:
        """A descriptor whose end of file means that the process failed before it was introduced, or None."""
        ...

    def introduce(self, files: Sequence[OwnedDescriptor]) -> int | None:
        """Take in what came with the first message, and return the pidfd of the root, the caller's to close.

        Raises:
            ValueError: It is not what it should be.
        """
        ...

    def has_ended(self) -> bool:
        """Whether it is dead. For systems without pidfds; it may reap the process."""
        ...

    def is_dead(self) -> bool:
        """Whether the worker itself is dead, though the process whose end is waited for may not be."""
        ...

    def is_dead_unreaped(self) -> bool:
        """Whether a killed process with all it started is dead, though what should reap it does not."""
        ...

    def kill(self, pidfd: int | None) -> bool:
        """Kill the process with all it started. Returns whether nothing of it can be left."""
        ...

    def exit_code(self) -> int | None:
        """Exit code of the ended process, or minus the signal's number. None: not to be known."""
        ...

    def refusal(self) -> str:
        """Why no process will ever become a worker here, as far as this one said; else ""."""
        ...

    def is_short_of_something(self) -> bool:
        """Whether it failed to start because the machine is out of something for the moment."""
        ...

    def failure(self) -> str:
        """What is known of an end that no exit code tells of; else ""."""
        ...

    def open_file_of_worker(self, number: int) -> OwnedDescriptor:
        """Open for reading what is open in the living worker. Raises OSError."""
        ...

    def scratch_bytes(self, max_entries: int) -> int:
        """Disk space in the call's scratch folder, if it has one; of at most so many entries."""
        ...

    def account(self) -> KernelAccount | None:
        """What the ended process and its descendants used, where that is known."""
        ...

    def forget_after_fork(self) -> None:
        """In a forked child: the process is the parent's."""
        ...

    def dispose(self) -> None:
        """Let go of what the driver holds for the ended process. May block."""
        ...


class WorkerSource(Protocol):
    """Where a pool's workers come from. Used on the dispatcher's thread only."""

    @property
    def spares(self) -> int:
        """How many more workers to keep ready than calls run, from the start."""
        ...

    @property
    def leaves_orphans(self) -> bool:
        """Whether a worker that dies may leave processes behind, which must be looked for."""
        ...

    def start_worker(self, worker_id: str) -> tuple[WorkerProcess, WorkerPipes]:
        """Start the process of the worker with that id. May raise anything; nothing is left then."""
        ...

    def set_aside(self, process: WorkerProcess) -> None:
        """What a worker comes from hangs: it starts late, or its death is not seen to. Use it no more."""
        ...

    def forget(self, process: WorkerProcess) -> None:
        """A worker's process is dead, or never came to be."""
        ...

    def rest(self) -> None:
        """The last worker has ended of idleness. End what serves none; the next start brings it back."""
        ...

    def close(self) -> None:
        """The last worker is gone, or left to die by its channels."""
        ...

    def close_after_fork(self) -> None:
        """In a forked child: what is held is the parent's."""
        ...
