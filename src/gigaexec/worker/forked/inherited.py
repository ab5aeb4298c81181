"""The state that workers inherit from their template.

Memory is copy-on-write: a worker's first write to a page copies the page, which takes longer than the write.
So the template creates the state that all workers need, and workers write to as little inherited state as
possible.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from gigaexec.worker.call.capture import Streams
from gigaexec.worker.call.imports import CallImports, ImportState
from gigaexec.worker.call.modules import ModuleContents
from gigaexec.worker.call.program import MODULE_NAME
from gigaexec.worker.call.scope import require_current_folder

# `logging` measures `relativeCreated` from this clock: nanoseconds since Python 3.13.
_logging_clock: Callable[[], float] = time.time_ns if sys.version_info >= (3, 13) else time.time


class InheritedState:
    """The state that a template creates once and its workers inherit."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.modules = ModuleContents()
        self.usual_ready = b""
        """The encoded first message of a worker in which every sandbox step succeeded."""
        self._modules = sys.modules.copy()
        self._import_state = ImportState(require_current_folder())

    def refresh(self) -> None:
        """Replace what modules cached of the template: its descriptors, its current folder and its clock.

        Called in a worker, just before its call.
        """
        self.streams.renew()
        modules: Any = sys.modules
        if "tempfile" in modules:
            modules["tempfile"].tempdir = None
        if "logging" in modules:
            modules["logging"]._startTime = _logging_clock()
        if "multiprocessing.process" in modules:
            # Processes with the start method spawn begin in this folder.
            modules["multiprocessing.process"].ORIGINAL_DIR = require_current_folder()
        if "multiprocessing.resource_tracker" in modules:
            # The descriptor of the template's tracker is closed here; the worker starts its own tracker.
            tracker = modules["multiprocessing.resource_tracker"]._resource_tracker
            tracker._fd = tracker._pid = None

    def renew_modules(self) -> None:
        """In the template: record all modules loaded so far as the modules loaded before each call."""
        self._modules = sys.modules.copy()

    def imports(self, python_path: list[str], program_folder: str) -> ForkedImports:
        """Return the imports of a call that is about to run."""
        folder = require_current_folder()
        if self._import_state.folder != folder:
            self._import_state = ImportState(folder)
        return ForkedImports(self._import_state, python_path, program_folder, self._modules)


class ForkedImports(CallImports):
    """Sets up and tracks the imports of a call in a forked process.

    Nothing is restored, because the process ends after the call. Modules that the call did not load are not
    touched: a new reference to a module would copy the module's memory page.

    Args:
        state: The folders and import hooks that every call can import from.
        python_path: The call's own folders, searched first.
        program_folder: The folder from which child processes of the program import `user_code`, or "".
        modules_before: The modules that were loaded before the fork, by name.
    """

    def _loaded_since(self) -> dict[str, Any]:
        last_before = next(reversed(self._modules_before), None)
        loaded = {}
        for name in reversed(sys.modules):  # a dict keeps the order of loading
            if name == last_before:
                break
            if name != MODULE_NAME:
                loaded[name] = sys.modules[name]
        return loaded
