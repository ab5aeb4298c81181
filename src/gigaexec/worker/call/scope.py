"""Prepares the process for one call: environment, folders, signals."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

from gigaexec.worker.call.imports import CallImports
from gigaexec.worker.call.modules import ModuleContents

# The C function that `signal.signal` calls. `signal.signal` also converts handlers to enum members, which
# takes longer than the system call.
_set_handler: Callable[[int, Any], Any] = importlib.import_module("_signal").signal
_SIGINT = int(signal.SIGINT)


class CallScope:
    """The environment, folders and signal handlers of one call.

    If `prepare` fails, `not_prepared` is the error, and the call must not run. If `prepare` succeeds,
    `not_prepared` is None.
    """

    def __init__(self, imports: CallImports, modules: ModuleContents, env: dict[str, str | None]) -> None:
        self._env = env
        self.modules = modules
        self.imports = imports
        self.not_prepared: Exception | None = None

    def prepare(self) -> None:
        """Apply the call's environment and folders, and have SIGINT raise KeyboardInterrupt."""
        try:
            self._apply_environment()
            self.imports.prepare()
        except (ValueError, OSError) as error:
            # Causes: env or python_path contains a lone surrogate or a NUL character, or python_path contains
            # a relative path and the current folder was removed.
            self.not_prepared = error
        _set_handler(_SIGINT, signal.default_int_handler)

    def _apply_environment(self) -> None:
        for name, value in self._env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def require_current_folder() -> str:
    """Return the current folder. If the folder was removed, change to "/" first.

    An interpreter needs a current folder that exists.
    """
    try:
        return os.getcwd()
    except OSError:
        os.chdir("/")
        return "/"
