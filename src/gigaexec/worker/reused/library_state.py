"""Restores the state of the process and of standard libraries that programs commonly change.

Only libraries that are loaded already are restored: loading a library here would slow down the start of every
worker. Context variables, such as decimal's context and numpy's error state, need no restoring: every call
runs in a copy of the context.
"""

from __future__ import annotations

import _locale
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

# None on macOS, which lacks sched_getaffinity.
_get_affinity = getattr(os, "sched_getaffinity", None)


class LibraryState:
    """The library state from which every call starts. Create it once, before any program runs."""

    def __init__(self) -> None:
        self._filters = list(warnings.filters)
        self._affinity = _get_affinity(0) if _get_affinity is not None else None
        self._users_and_groups = _users_and_groups()
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)
        self._locale = _locale.setlocale(_locale.LC_ALL)
        self._root_logger = _root_logger_state()

    def restore(self) -> str:
        """Restore the library state. Returns the reason why the worker must retire; "" if it need not.

        Called after modules and environment have been restored.
        """
        self._restore_warnings()
        self._restore_logging()
        if _locale.setlocale(_locale.LC_ALL) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        _reset_start_method()
        _reset_event_loop_policy()
        _stop_tracing_memory()
        if self._affinity is not None and os.sched_getaffinity(0) != self._affinity:
            # sched_setaffinity fails if the system has meanwhile taken CPUs away from this process.
            with suppress(OSError):
                os.sched_setaffinity(0, self._affinity)
        return self._retire_reason()

    def _restore_warnings(self) -> None:
        if warnings.filters != self._filters:
            # Each module records the warnings that it has shown. Only resetwarnings() invalidates the
            # records.
            warnings.resetwarnings()
            warnings.filters[:] = self._filters  # type: ignore[index]

    def _restore_logging(self) -> None:
        logging: Any = sys.modules.get("logging")
        if logging is not None and _root_logger_state() != self._root_logger:
            handlers, level, disabled_level = self._root_logger
            logging.root.handlers = handlers.copy()
            logging.root.setLevel(level)
            logging.disable(disabled_level)

    def _retire_reason(self) -> str:
        if _users_and_groups() != self._users_and_groups:
            return "the program changed its user or group"
        if os.getpriority(os.PRIO_PROCESS, 0) != self._niceness:
            return "the program changed its scheduling priority"
        return ""


def _users_and_groups() -> tuple[int, ...]:
    return os.getuid(), os.geteuid(), os.getgid(), os.getegid()


def _reset_start_method() -> None:
    multiprocessing: Any = sys.modules.get("multiprocessing")
    # A call of get_start_method() by one program fixes the default start method. Then set_start_method()
    # raises in the next program.
    if multiprocessing is not None and multiprocessing.get_start_method(allow_none=True) is not None:
        multiprocessing.set_start_method(None, force=True)


def _root_logger_state() -> tuple[list[Any], int, int]:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return [], 30, 0  # state of a freshly imported logging: no handler, level WARNING, nothing disabled
    return logging.root.handlers.copy(), logging.root.level, logging.root.manager.disable


def _reset_event_loop_policy() -> None:
    events: Any = sys.modules.get("asyncio.events")
    # After asyncio.run() the main thread has no event loop, and get_event_loop() creates an event loop only
    # under a new policy.
    if events is not None and events._event_loop_policy is not None:
        events._event_loop_policy = None


def _stop_tracing_memory() -> None:
    tracemalloc: Any = sys.modules.get("tracemalloc")
    if tracemalloc is not None and tracemalloc.is_tracing():
        tracemalloc.stop()
