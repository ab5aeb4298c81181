"""The workers of one pool, by state."""

from __future__ import annotations

from collections.abc import Iterator

from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_handle import WorkerHandle


class Workers:
    """The workers of one pool. Used on the dispatcher's thread only, or under its lock."""

    def __init__(self) -> None:
        self._all: set[WorkerHandle] = set()
        self._idle: list[WorkerHandle] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def __contains__(self, worker: WorkerHandle) -> bool:
        return worker in self._all

    def __iter__(self) -> Iterator[WorkerHandle]:
        """Iterate over a snapshot: workers may be removed meanwhile."""
        return iter(tuple(self._all))

    def add(self, worker: WorkerHandle) -> None:
        """Add a worker that starts."""
        self._all.add(worker)

    def remove(self, worker: WorkerHandle) -> None:
        """Remove a worker that is dead."""
        self._all.discard(worker)
        self.unidle(worker)

    def make_idle(self, worker: WorkerHandle) -> None:
        """Offer a worker for the next call."""
        worker.become_idle()
        # Last in, first out: the worker with the warmest caches is used again, and the others may end when
        # idle.
        self._idle.append(worker)

    def unidle(self, worker: WorkerHandle) -> None:
        """Offer the worker for no further call."""
        if worker in self._idle:
            self._idle.remove(worker)

    def next_idle(self) -> WorkerHandle | None:
        """Return the idle worker that takes the next call, or None. It stays idle until `unidle`."""
        while self._idle and self._idle[-1].state is not WorkerState.IDLE:
            self._idle.pop()  # the channel broke; the death will be reported
        return self._idle[-1] if self._idle else None

    def count(self, *states: WorkerState) -> int:
        """Return how many workers are in one of the states."""
        return sum(worker.state in states for worker in self._all)

    def running(self, call_of: object) -> WorkerHandle | None:
        """Return the worker that runs a job or a `RunningCall`; None if no worker does."""
        for worker in self._all:
            call = worker.call
            if call is not None and (call is call_of or call.job is call_of):
                return worker
        return None

    def running_calls(self) -> list[RunningCall]:
        """Return the calls that run, also those that have answered and whose processes are ending."""
        return [
            worker.call
            for worker in self._all
            if worker.call is not None and worker.state in (WorkerState.BUSY, WorkerState.ENDING)
        ]
