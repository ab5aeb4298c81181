"""Restores the state of the process and of standard libraries that programs commonly change.

Only libraries that are loaded already are restored: loading a library here would slow down the start of every
worker. Context variables, such as decimal's context and numpy's error state, need no restoring: every call
runs in a copy of the context.
"""

from __future__ import annotations

import _locale
import copyreg
import os
import sys
import warnings
from collections.abc import Callable, Collection
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
        self._loggers: dict[str, tuple[Any, ...]] = {}
        self._copiers = copyreg.dispatch_table.copy()

    def restore(self, names: Collection[str]) -> str:
        """Restore the library state. Returns the reason why the worker must retire; "" if it need not.

        Called after modules and environment have been restored.

        Args:
            names: The names in the code of the program. State that takes long to compare is restored only if
                the program names the library.
        """
        self._restore_warnings()
        self._restore_logging()
        if _locale.setlocale(_locale.LC_ALL) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        _reset_start_method()
        _reset_event_loop_policy()
        _stop_tracing_memory()
        if copyreg.dispatch_table != self._copiers:
            copyreg.dispatch_table.clear()
            copyreg.dispatch_table.update(self._copiers)
        if "logging" in names:
            self._restore_loggers()
        for library, reset in _RESETS.items():
            if library in sys.modules and any(_is_part_of(name, library) for name in names):
                reset(sys.modules[library])
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
            warnings.filters[:] = self._filters  # type: ignore[index]  # a list at run time

    def _restore_logging(self) -> None:
        logging: Any = sys.modules.get("logging")
        if logging is not None and _root_logger_state() != self._root_logger:
            handlers, level, disabled_level = self._root_logger
            logging.root.handlers = handlers.copy()
            logging.root.setLevel(level)
            logging.disable(disabled_level)

    def _restore_loggers(self) -> None:
        """Restore all loggers but the root logger. A logger that is new starts with its present state."""
        logging: Any = sys.modules["logging"]
        for name, logger in logging.root.manager.loggerDict.copy().items():
            if not isinstance(logger, logging.Logger):
                continue  # a placeholder for the parents of a logger
            if name not in self._loggers and _belongs_to_library(name):
                self._loggers[name] = _logger_state(logger)
            handlers, filters, level, propagate, disabled = self._loggers.get(name, ([], [], 0, True, False))
            logger.handlers, logger.filters = list(handlers), list(filters)
            if logger.level != level:
                logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled

    def _retire_reason(self) -> str:
        if _users_and_groups() != self._users_and_groups:
            return "the program changed its user or group"
        if os.getpriority(os.PRIO_PROCESS, 0) != self._niceness:
            return "the program changed its scheduling priority"
        return ""


def _belongs_to_library(logger_name: str) -> bool:
    """True if the logger has the name of a loaded module, which created the logger when it was loaded."""
    return logger_name in sys.modules


def _logger_state(logger: Any) -> tuple[Any, ...]:
    return list(logger.handlers), list(logger.filters), logger.level, logger.propagate, logger.disabled


def _reset_decimal(decimal: Any) -> None:
    # decimal documents these values as those of DefaultContext, from which new threads start.
    fresh = decimal.Context(
        prec=28, rounding=decimal.ROUND_HALF_EVEN, Emin=-999999, Emax=999999, capitals=1, clamp=0
    )
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(decimal.DefaultContext, name, getattr(fresh, name))
    for signal in (decimal.DivisionByZero, decimal.Overflow, decimal.InvalidOperation):
        decimal.DefaultContext.traps[signal] = True


def _reset_matplotlib(matplotlib: Any) -> None:
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    matplotlib.rcdefaults()


_RESETS: dict[str, Callable[[Any], object]] = {
    "decimal": _reset_decimal,
    "matplotlib": _reset_matplotlib,
    "socket": lambda socket: socket.setdefaulttimeout(None),
}
"""Library -> a function that resets its state. Only for libraries with a cheap reset of their own."""


def _is_part_of(name: str, library: str) -> bool:
    return name == library or name.startswith(f"{library}.")


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
