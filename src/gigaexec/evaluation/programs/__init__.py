"""Programs, and functions that read the source of programs from Python files."""

from gigaexec.evaluation.programs.program import Program
from gigaexec.evaluation.programs.source import SourceUnreadableError, read_source

__all__ = ["Program", "SourceUnreadableError", "read_source"]
