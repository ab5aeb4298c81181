"""How the command ends, and what its exit status says."""

from __future__ import annotations

import enum
import signal


class ExitCode(enum.IntEnum):
    """The exit status of every subcommand. After a signal it is 128 plus the signal's number."""

    DONE = 0
    """It did what was asked."""
    FAILED = 1
    """run: the call failed. evaluate: not one program is valid. doctor: something does not work."""
    WRONG_USE = 2
    """The command line, a file named on it or the configuration cannot be used; nothing was run."""
    INFRASTRUCTURE = 3
    """gigaexec or the machine failed; for evaluate, at least one program has no verdict."""


class Interrupted(BaseException):
    """The user stopped the command. Like `KeyboardInterrupt` it is no `Exception`, so nobody swallows it.

    Args:
        signal_number: The signal that did it.
        progress: What had been done, to follow "stopped by SIGINT"; "" when there is nothing to say.
    """

    def __init__(self, signal_number: int, progress: str = "") -> None:
        super().__init__(signal_number, progress)
        self.signal_number = signal_number
        self.progress = progress

    @property
    def signal_name(self) -> str:
        return signal.Signals(self.signal_number).name
