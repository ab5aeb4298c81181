"""Exit statuses of the command, and the exception that a signal raises."""

from __future__ import annotations

import enum
import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command. SIGHUP arrives when the terminal is closed."""


class ExitCode(enum.IntEnum):
    """Exit status of every subcommand. After a signal the status is 128 plus the signal's number."""

    DONE = 0
    """The command did what was asked."""
    FAILED = 1
    """run: the call failed. evaluate: no program is valid. doctor: something that calls need is broken."""
    WRONG_USE = 2
    """The command line, a file named on it or the configuration cannot be used; no program was run."""
    INFRASTRUCTURE = 3
    """gigaexec or the machine failed. evaluate: at least one program has no verdict."""


class Interrupted(BaseException):
    """A signal stopped the command. Not an `Exception`, so that `except Exception` does not swallow it.

    Args:
        signal_number: Number of the signal.
        progress: Text about the work that is done, appended to "stopped by SIGINT"; "" for no text.
    """

    def __init__(self, signal_number: int, progress: str = "") -> None:
        super().__init__(signal_number, progress)
        self.signal_number = signal_number
        self.progress = progress

    @property
    def signal_name(self) -> str:
        """Name of the signal, such as "SIGINT"."""
        return signal.Signals(self.signal_number).name
