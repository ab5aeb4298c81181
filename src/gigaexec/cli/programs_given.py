"""Which programs a command line names."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems import Problem
from gigaexec.evaluation.problems.problem import programs_in


def programs_to_evaluate(problem: Problem, named: Sequence[Path]) -> list[Path]:
    """List the named files and the programs in named folders, or the initial programs where none is named.

    A file that is named twice is listed once. `__init__.py` and hidden files are left out of folders, and
    taken where they are named themselves.

    Raises:
        ConfigurationError: An argument is no file and no folder, or there is no program.
    """
    if not named:
        if not problem.initial_programs:
            raise ConfigurationError(
                f"{problem.path}: no initial_programs/*.py here. "
                f"Pass programs: gigaexec evaluate {problem.name} PROGRAM..."
            )
        return list(problem.initial_programs)
    files: dict[Path, Path] = {}
    for path in named:
        for file in _files_of(path):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _files_of(path: Path) -> list[Path]:
    expected = f"{path}: expected a program or a folder of programs"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"{expected}: {error.strerror}") from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        # Reading a pipe or a device might never end, and nothing else could run meanwhile.
        raise ConfigurationError(f"{expected}, not a pipe, a socket or a device")
    found = [file for file in programs_in(path) if file.is_file()]
    if not found:
        raise ConfigurationError(f"no programs (*.py) in {path}")
    return found
