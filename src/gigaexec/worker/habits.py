"""State of the standard library that programs change by habit, given back to the next program as it was.

Only libraries that are loaded are touched: loading one for this would cost every worker its start-up time.
"""

from __future__ import annotations

import sys
from typing import Any


class LibraryState:
    """What the loaded libraries' state is between calls."""

    def restore(self) -> None:
        """Bring the libraries back to it. Call when the modules hold their own functions again."""
        _choose_no_start_method()


def _choose_no_start_method() -> None:
    multiprocessing: Any = sys.modules.get("multiprocessing")
    # A default that was only asked for counts as chosen, too, and a second choice raises.
    if multiprocessing is not None and multiprocessing.get_start_method(allow_none=True) is not None:
        multiprocessing.set_start_method(None, force=True)
