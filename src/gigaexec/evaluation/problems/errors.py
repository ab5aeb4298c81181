"""Errors about problem folders."""

from __future__ import annotations

from gigaexec.errors import ConfigurationError


class ProblemError(ConfigurationError):
    """A problem folder cannot be used.

    Args:
        message: Every mistake, one a line; each names file, key and what was expected.
        findings: The same lines.
    """

    def __init__(self, message: str = "", *, findings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings or ((message,) if message else ())

    @classmethod
    def listing(cls, what: object, findings: list[str]) -> ProblemError:
        """Make the error about `what` from one or more findings."""
        if len(findings) == 1:
            return cls(findings[0])
        lines = [f"{what}: {len(findings)} mistakes", *(f"  {finding}" for finding in findings)]
        return cls("\n".join(lines), findings=tuple(findings))


class ContextError(ProblemError):
    """The problem's `build_context` failed; the message holds its traceback."""
