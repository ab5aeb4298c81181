"""The state that workers inherit from their template.

Memory is copy-on-write: the first write of a worker to a page copies the page, which takes longer than the
write. So state that all workers need is created in the template, and a worker writes to as little of it as
possible.
"""

from __future__ import annotations

import sys
from typing import Any

from gigaexec.worker.call.capture import Streams
from gigaexec.worker.call.imports import CallImports, ImportState
from gigaexec.worker.call.program import MODULE_NAME
from gigaexec.worker.call.scope import require_current_folder


class InheritedState:
    """The state that a template creates once and its workers inherit."""

    def __init__(self) -> None:
        self.streams = Streams()
        self.streams.renew()
        self.usual_ready = b""
        """The encoded first message of a worker in which every step of the sandbox held."""
        self._modules = sys.modules.copy()
        self._import_state = ImportState(require_current_folder())

    def renew_modules(self) -> None:
        """In the template: treat all modules loaded so far as loaded before every call."""
        self._modules = sys.modules.copy()

    def imports(self, python_path: list[str]) -> ForkedImports:
        """Return the imports of a call that is about to run."""
        folder = require_current_folder()
        if self._import_state.folder != folder:
            self._import_state = ImportState(folder)
        return ForkedImports(self._import_state, python_path, self._modules)


class ForkedImports(CallImports):
    """The imports of a call in a forked process, which ends after the call: nothing is restored.

    Modules that the call did not load are not touched: a new reference to a module copies its page.

    Args:
        state: The folders and hooks that every call can import from.
        python_path: The call's own folders.
        modules_before: The modules that were loaded before the fork.
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
