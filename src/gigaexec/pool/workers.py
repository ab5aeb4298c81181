"""The workers of one pool, by state."""

from __future__ import annotations

from collections.abc import Iterator

from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.pool.worker_clock import WorkerState
from gigaexec.pool.worker_handle import WorkerHandle


class Workers:
    """The workers of one pool. Used on the dispatcher's thread, or under its lock."""

    def __init__(self) -> None:
        self._all: set[WorkerHandle] = set()
        self._idle: list[WorkerHandle] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def __contains__(self, worker: WorkerHandle) -> bool:
        return worker in self._all

    def __iter__(self) -> Iterator[WorkerHandle]:
        """Iterate over a copy, because workers may be removed during the iteration."""
        return iter(tuple(self._all))

    def add(self, worker: WorkerHandle) -> None:
        """Add a worker that is starting."""
        self._all.add(worker)

    def remove(self, worker: WorkerHandle) -> None:
        """Remove a dead worker."""
        self._all.discard(worker)
        self.unidle(worker)

    def make_idle(self, worker: WorkerHandle) -> None:
        """Mark a worker as idle, and offer it for the next call."""
        worker.enter(WorkerState.IDLE)
        # Last in, first out: the worker that was used last has the warmest caches. Workers that are not
        # needed stay idle, and end after `idle_timeout_s`.
        self._idle.append(worker)

    def unidle(self, worker: WorkerHandle) -> None:
        """Stop offering a worker for further calls."""
        if worker in self._idle:
            self._idle.remove(worker)

    def next_idle(self) -> WorkerHandle | None:
        """Return the idle worker for the next call, or None. The worker is offered again until `unidle`."""
        while self._idle and self._idle[-1].state is not WorkerState.IDLE:
            self._idle.pop()  # the worker's channel broke; its death will be reported
        return self._idle[-1] if self._idle else None

    def count(self, *states: WorkerState) -> int:
        """Return the number of workers in any of the states."""
        return sum(worker.state in states for worker in self._all)

    def running(self, call_of: object) -> WorkerHandle | None:
        """Return the worker that runs the given `Job` or `RunningCall`; None if no worker runs it."""
        for worker in self._all:
            call = worker.call
            if call is not None and (call is call_of or call.job is call_of):
                return worker
        return None

    def running_calls(self) -> list[RunningCall]:
        """Return the running calls, including answered calls whose processes are still ending."""
        return [
            worker.call
            for worker in self._all
            if worker.call is not None and worker.state in (WorkerState.BUSY, WorkerState.ENDING)
        ]
