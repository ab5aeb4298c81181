"""Prepares the process for one call: environment, folders, signals."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

from gigaexec.worker.call.imports import CallImports

# `signal.signal` calls this function and converts handlers to enum members, which takes longer than the
# system call.
_set_handler: Callable[[int, Any], Any] = importlib.import_module("_signal").signal
_SIGINT = int(signal.SIGINT)


class CallScope:
    """The environment, folders and signal handlers of one call.

    After `prepare`, `not_prepared` is the error because of which the call must not run, or None.
    """

    def __init__(self, imports: CallImports, env: dict[str, str | None]) -> None:
        self._env = env
        self.imports = imports
        self.not_prepared: Exception | None = None

    def prepare(self) -> None:
        """Apply the call's environment and folders, and have SIGINT raise KeyboardInterrupt."""
        try:
            self._apply_environment()
            self.imports.prepare()
        except (ValueError, OSError) as error:
            # A lone surrogate, a NUL, or a relative path in a removed folder.
            self.not_prepared = error
        _set_handler(_SIGINT, signal.default_int_handler)

    def _apply_environment(self) -> None:
        for name, value in self._env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def require_current_folder() -> str:
    """Return the current folder. If it was removed, move to "/" first: an interpreter needs one."""
    try:
        return os.getcwd()
    except OSError:
        os.chdir("/")
        return "/"
