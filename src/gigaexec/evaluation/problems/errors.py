"""Errors about problem folders."""

from __future__ import annotations

from gigaexec.errors import ConfigurationError


class ProblemError(ConfigurationError):
    """A problem folder cannot be used.

    Args:
        message: One line for each mistake, with the file, the key and the expected value.
        findings: The mistakes in the message, one mistake per item. Default: the message as the only item.
    """

    def __init__(self, message: str = "", *, findings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings or ((message,) if message else ())

    @classmethod
    def listing(cls, what: object, findings: list[str]) -> ProblemError:
        """Make an error that lists one or more mistakes in the file or folder `what`."""
        if len(findings) == 1:
            return cls(findings[0])
        lines = [f"{what}: {len(findings)} mistakes", *(f"  {finding}" for finding in findings)]
        return cls("\n".join(lines), findings=tuple(findings))


class ContextError(ProblemError):
    """`build_context` of the problem failed, or its value cannot be passed to programs.

    If `build_context` failed, the message contains the traceback.
    """
