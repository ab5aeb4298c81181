"""Programs: what is evaluated."""

from gigaexec.programs.program import Program
from gigaexec.programs.source import read_source

__all__ = ["Program", "read_source"]
