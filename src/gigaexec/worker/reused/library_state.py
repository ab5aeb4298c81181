"""Restores the state of the process and of standard libraries that programs commonly change.

Only loaded libraries are touched: loading one here would slow the start of every worker down. Context
variables, such as decimal's context and numpy's error state, need no restoring: every call runs in a copy of
the context.
"""

from __future__ import annotations

import _locale
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

# Absent on macOS.
_get_affinity = getattr(os, "sched_getaffinity", None)


class LibraryState:
    """The state that every call starts from. Created once in a process, before any program runs."""

    def __init__(self) -> None:
        self._filters = list(warnings.filters)
        self._affinity = _get_affinity(0) if _get_affinity is not None else None
        self._users_and_groups = _users_and_groups()
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)
        self._locale = _locale.setlocale(_locale.LC_ALL)
        self._root_logger = _root_logger_state()

    def restore(self) -> str:
        """Restore the state, after modules and environment. Returns why the worker must retire, or ""."""
        self._restore_warnings()
        self._restore_logging()
        if _locale.setlocale(_locale.LC_ALL) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        _reset_start_method()
        _reset_event_loop_policy()
        _stop_tracing_memory()
        if self._affinity is not None and os.sched_getaffinity(0) != self._affinity:
            with suppress(OSError):  # the CPUs that this process may use have changed since
                os.sched_setaffinity(0, self._affinity)
        return self._retire_reason()

    def _restore_warnings(self) -> None:
        if warnings.filters != self._filters:
            # Modules record the warnings that they have shown; only this function makes the records stale.
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
    # get_start_method() makes the default the final choice, and then a program's set_start_method() raises.
    if multiprocessing is not None and multiprocessing.get_start_method(allow_none=True) is not None:
        multiprocessing.set_start_method(None, force=True)


def _root_logger_state() -> tuple[list[Any], int, int]:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return [], 30, 0  # the state after an import: no handler, WARNING, nothing disabled
    return logging.root.handlers.copy(), logging.root.level, logging.root.manager.disable


def _reset_event_loop_policy() -> None:
    events: Any = sys.modules.get("asyncio.events")
    # After asyncio.run() the main thread has no loop, and get_event_loop() creates one only under a new
    # policy.
    if events is not None and events._event_loop_policy is not None:
        events._event_loop_policy = None


def _stop_tracing_memory() -> None:
    tracemalloc: Any = sys.modules.get("tracemalloc")
    if tracemalloc is not None and tracemalloc.is_tracing():
        tracemalloc.stop()
