"""Programs and the Python files that hold their source."""

from gigaexec.evaluation.programs.program import Program
from gigaexec.evaluation.programs.source import SourceUnreadableError, read_source

__all__ = ["Program", "SourceUnreadableError", "read_source"]
