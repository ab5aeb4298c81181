"""Programs: what is evaluated."""

from gigaexec.programs.program import Program
from gigaexec.programs.source import SourceUnreadableError, read_source

__all__ = ["Program", "SourceUnreadableError", "read_source"]
