"""What the command's exit status says."""

from __future__ import annotations

import enum


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
