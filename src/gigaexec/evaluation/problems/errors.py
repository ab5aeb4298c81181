"""Errors about problem folders."""

from __future__ import annotations

from gigaexec.errors import ConfigurationError


class ProblemError(ConfigurationError):
    """A problem folder cannot be used.

    Args:
        message: Every mistake, one per line; each names the file, the key and what was expected.
        findings: The same mistakes, one per item. Default: the message alone.
    """

    def __init__(self, message: str = "", *, findings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings or ((message,) if message else ())

    @classmethod
    def listing(cls, what: object, findings: list[str]) -> ProblemError:
        """Make the error about one or more mistakes in `what`, a file or a folder."""
        if len(findings) == 1:
            return cls(findings[0])
        lines = [f"{what}: {len(findings)} mistakes", *(f"  {finding}" for finding in findings)]
        return cls("\n".join(lines), findings=tuple(findings))


class ContextError(ProblemError):
    """`build_context` of the problem failed; the message holds its traceback."""
