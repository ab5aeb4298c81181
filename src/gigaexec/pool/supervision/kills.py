"""Kills that are under way: the dispatcher's thread does them in short parts, without the pool's lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gigaexec.pool.failure_log import log_failure
from gigaexec.pool.supervision.process_tree import Killing

logger = logging.getLogger(__name__)

# Longest time that the parts of all kills may take before the dispatcher serves other events.
_TURN_S = 0.005


class Kill:
    """One kill of a worker's processes.

    Args:
        worker: The worker's handle.
        killing: Does the work.
        on_done: Called on the dispatcher's thread, under the pool's lock, with True if all processes are
            dead.
    """

    def __init__(self, worker: object, killing: Killing, on_done: Callable[[bool], None]) -> None:
        self.worker = worker
        self.next_part_at = 0.0
        self._killing = killing
        self._on_done = on_done
        self._result: bool | None = None

    @property
    def is_done(self) -> bool:
        """True if `report` can be called."""
        return self._result is not None

    def do_parts(self, until: float) -> None:
        """Do the next parts of the kill. Returns at the next pause, at the end, or at the time `until`."""
        try:
            while not (pause_s := next(self._killing)) and time.monotonic() < until:
                pass
        except StopIteration as end:
            self._result = bool(end.value)
        except Exception as error:  # noqa: BLE001 - a kill that fails must not end the dispatcher; logged
            log_failure(logger, logging.ERROR, error, "the processes of a worker cannot be killed")
            self._result = False
        else:
            self.next_part_at = time.monotonic() + pause_s

    def report(self) -> None:
        """Call `on_done`."""
        self._on_done(bool(self._result))

    def abandon(self) -> None:
        """Do no further part. `on_done` is not called."""
        self._killing.close()


class Kills:
    """The kills of one pool that are under way. Used on the dispatcher's thread only, except `start`."""

    def __init__(self) -> None:
        self._kills: list[Kill] = []
        self.next_at = float("inf")
        """Time of the next part or report, on the monotonic clock; infinity if no kill is under way."""

    def start(self, kill: Kill) -> None:
        """Start a kill; `do_parts` does its first part. Called on any thread that holds the pool's lock."""
        self._kills.append(kill)
        self.next_at = 0.0

    def abandon(self, worker: object) -> None:
        """Forget the kills of a worker, because the worker is dead."""
        for kill in tuple(self._kills):
            if kill.worker is worker:
                self._kills.remove(kill)
                kill.abandon()

    def do_parts(self) -> None:
        """Do the parts that are due, for a short time. Call this method without the pool's lock."""
        until = time.monotonic() + _TURN_S
        for kill in sorted(self._kills, key=lambda kill: kill.next_part_at):
            now = time.monotonic()
            if now >= until:
                return
            if not kill.is_done and kill.next_part_at <= now:
                kill.do_parts(until)

    def take_done(self) -> list[Kill]:
        """Return the kills that are complete, and forget them. The caller must call `report` on each."""
        done = [kill for kill in self._kills if kill.is_done]
        self._kills = [kill for kill in self._kills if not kill.is_done]
        return done

    def plan(self) -> None:
        """Update `next_at`. Call this method with the pool's lock."""
        self.next_at = min(
            (0.0 if kill.is_done else kill.next_part_at for kill in self._kills), default=float("inf")
        )
