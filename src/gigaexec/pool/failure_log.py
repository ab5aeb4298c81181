"""Log failures in one line."""

from __future__ import annotations

import logging


def log_failure(logger: logging.Logger, level: int, error: BaseException, text: str, *args: object) -> None:
    """Log `text` with the error in one line, and the traceback separately.

    The system causes an OSError: no descriptor or no memory is free, or a process was killed. Its traceback
    says nothing more, and is logged at level DEBUG. Any other error is a mistake in gigaexec, so its
    traceback is logged at `level`.

    Args:
        logger: The logger of the caller.
        level: The level of the line.
        error: The caught error.
        text: The failed action, with placeholders for `args`.
        args: Values for the placeholders.
    """
    line = text + " (%s: %s)"
    logger.log(level, line, *args, type(error).__name__, in_one_line(str(error)), stacklevel=2)
    traceback_level = logging.DEBUG if isinstance(error, OSError) else level
    logger.log(traceback_level, "traceback of the error above:", exc_info=error, stacklevel=2)


def in_one_line(text: str) -> str:
    """Return the first and the last line of a text. The last line of a traceback is the reason."""
    lines = text.strip().splitlines()
    return text.strip() if len(lines) < 2 else f"{lines[0]}: {lines[-1].strip()}"
