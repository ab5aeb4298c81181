"""The class `Problem`: a problem folder, read and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.files import read_text
from gigaexec.evaluation.problems.metrics import MetricsSpec
from gigaexec.evaluation.problems.metrics_file import load_metrics_spec
from gigaexec.evaluation.programs.source import read_function_source

VALIDATOR_FILE = "validate.py"
METRICS_FILE = "metrics.yaml"
DESCRIPTION_FILE = "task_description.txt"
CONTEXT_FILE = "context.py"
PIPELINE_FILE = "pipeline.yaml"
INITIAL_PROGRAMS_FOLDER = "initial_programs"

# Required file -> explanation of its content, appended to the message about a missing file.
_REQUIRED_FILES = {
    VALIDATOR_FILE: " (it must define the function validate, which scores the result of a program)",
    METRICS_FILE: "",
    DESCRIPTION_FILE: " (it describes the task in words)",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Problem:
    """A task that programs are evaluated on.

        validate.py              validate(payload) or validate(context, payload) -> metrics[, artifact]
        metrics.yaml             the properties of each metric
        task_description.txt     the task in words, for the authors of programs
        context.py               optional: build_context() -> the argument of every program's entrypoint
        pipeline.yaml            optional: stages that replace the default ones
        initial_programs/*.py    programs to begin with, each with a function `entrypoint`
        helper modules           modules that the files above import

    Args:
        path: Absolute path of the folder.
        name: Name of the folder.
        description: Text of task_description.txt.
        metrics: Content of metrics.yaml.
        validator_path: Path of validate.py.
        context_path: Path of context.py; None if there is no such file.
        pipeline_path: Path of pipeline.yaml; None if there is no such file.
        initial_programs: Files of the initial programs, sorted by name.
    """

    path: Path
    name: str
    description: str
    metrics: MetricsSpec
    validator_path: Path
    context_path: Path | None = None
    pipeline_path: Path | None = None
    initial_programs: tuple[Path, ...] = ()

    @property
    def python_path(self) -> list[str]:
        """Folders from which programs, validate.py and context.py can import."""
        return [str(self.path)]

    @classmethod
    def load(cls, path: str | Path) -> Problem:
        """Read a problem folder.

        Args:
            path: Path of the folder.

        Raises:
            ProblemError: The folder or a file is missing or unreadable, metrics.yaml is wrong, or a Python
                file does not define its function. The message lists every mistake.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ProblemError(f"{path} is not a folder" if folder.exists() else f"no such folder: {path}")
        findings = _missing_files(folder)
        description = _collect(findings, read_text, folder / DESCRIPTION_FILE)
        metrics = _collect(findings, load_metrics_spec, folder / METRICS_FILE)
        context_path = _file_or_none(folder.absolute() / CONTEXT_FILE)
        pipeline_path = _file_or_none(folder.absolute() / PIPELINE_FILE)
        _collect(findings, read_function_source, folder / CONTEXT_FILE, "build_context")
        if pipeline_path is None:  # the default pipeline calls validate(), so validate.py must define it
            _collect(findings, read_function_source, folder / VALIDATOR_FILE, "validate")
        if findings or description is None or metrics is None:
            raise ProblemError.listing(folder, findings)
        return cls(
            path=folder.absolute(),
            name=folder.resolve().name,
            description=description.strip(),
            metrics=metrics,
            validator_path=folder.absolute() / VALIDATOR_FILE,
            context_path=context_path,
            pipeline_path=pipeline_path,
            initial_programs=tuple(programs_in(folder.absolute() / INITIAL_PROGRAMS_FOLDER)),
        )


def programs_in(folder: Path) -> list[Path]:
    """List the programs in a folder, sorted by file name: `*.py` without `__init__.py` and hidden files."""
    # __init__.py only makes the folder a package, and hidden files are backups of editors.
    files = sorted(folder.glob("*.py"))
    return [file for file in files if file.name != "__init__.py" and not file.name.startswith(".")]


def _missing_files(folder: Path) -> list[str]:
    missing = [name for name in _REQUIRED_FILES if not (folder / name).is_file()]
    if len(missing) > 1:
        return [f"{folder} is not a problem folder. Missing: {', '.join(missing)}"]
    return [f"{folder / name} is missing{_REQUIRED_FILES[name]}" for name in missing]


def _collect(findings: list[str], read: Callable[..., _T], path: Path, *arguments: str) -> _T | None:
    """Return the content of a file, or None if it is missing or wrong. Mistakes are added to the findings."""
    if not path.is_file():
        return None
    try:
        return read(path, *arguments)
    except ProblemError as error:
        findings.extend(error.findings)
    except ConfigurationError as error:
        findings.append(str(error))
    return None


def _file_or_none(path: Path) -> Path | None:
    return path if path.is_file() else None
