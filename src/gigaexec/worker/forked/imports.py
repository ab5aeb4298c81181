"""The imports of a call in a process that ends after it."""

from __future__ import annotations

import sys
from typing import Any

from gigaexec.worker.call.imports import CallImports
from gigaexec.worker.call.program import MODULE_NAME


class ImportsOfOneCall(CallImports):
    """The imports of a call in a process that ends after it, so that nothing is restored.

    It touches no module that the call did not load: in a forked process that would copy the module's page.

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
