"""The library's warnings, on the command's stderr."""

from __future__ import annotations

import logging
import sys

from gigaexec.untrusted.log_text import one_line


def show_warnings() -> None:
    """Let the log of gigaexec, from warnings up, appear on stderr. Twice is the same as once."""
    library = logging.getLogger("gigaexec")
    if not any(isinstance(handler, _StderrHandler) for handler in library.handlers):
        handler = _StderrHandler(logging.WARNING)
        # The table and the results file show the failures of stages; a traceback of each would bury the rest.
        handler.addFilter(lambda record: not record.name.startswith("gigaexec.evaluation.stages."))
        library.addHandler(handler)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # sys.stderr is looked up anew: the progress bar puts itself in front of it.
        print(f"gigaexec: {record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr)
