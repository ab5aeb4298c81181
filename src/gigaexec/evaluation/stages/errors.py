"""Errors that stages alone make."""

from __future__ import annotations

from gigaexec.errors import CallError


class StageOutputError(CallError):
    """A function returned something that its stage cannot use; the message says what it returned."""
