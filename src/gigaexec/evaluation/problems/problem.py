"""A problem folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.metrics import MetricsSpec
from gigaexec.evaluation.problems.metrics_file import load_metrics_spec
from gigaexec.evaluation.stages.function_source import read_function_source

VALIDATOR_FILE = "validate.py"
METRICS_FILE = "metrics.yaml"
DESCRIPTION_FILE = "task_description.txt"
CONTEXT_FILE = "context.py"
PIPELINE_FILE = "pipeline.yaml"
INITIAL_PROGRAMS_FOLDER = "initial_programs"


@dataclass(frozen=True, slots=True)
class Problem:
    """What programs are evaluated on.

        validate.py              validate(payload) or validate(context, payload) -> metrics[, artifact]
        metrics.yaml             what is known of each metric
        task_description.txt     the task, for whoever writes programs
        context.py               optional: build_context() -> the argument of every program's entrypoint
        pipeline.yaml            optional: stages other than the usual ones
        initial_programs/*.py    programs to begin with, each with a function `entrypoint`
        helper modules           whatever these files import

    Args:
        path: The folder, absolute.
        name: The folder's name.
        description: Text of task_description.txt.
        metrics: Content of metrics.yaml.
        validator_path: validate.py.
        context_path: context.py, or None.
        pipeline_path: pipeline.yaml, or None.
        initial_programs: The initial programs, sorted by file name.
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
        """Folders from which programs, validator and context can import."""
        return [str(self.path)]

    @classmethod
    def load(cls, path: str | Path) -> Problem:
        """Read a problem folder.

        Raises:
            ProblemError: It is no folder, a file is missing or unreadable, metrics.yaml is wrong, or a file
                does not define its function; every mistake is listed.
        """
        folder = Path(path).absolute()
        if not folder.is_dir():
            raise ProblemError(
                f"{path}: expected a problem folder, got {'a file' if folder.exists() else 'nothing'}"
            )
        findings: list[str] = []
        if not (folder / VALIDATOR_FILE).is_file():
            findings.append(
                f"{folder / VALIDATOR_FILE}: expected a file with a function validate, got nothing"
            )
        description = _read_description(folder / DESCRIPTION_FILE, findings)
        metrics = _read_metrics(folder / METRICS_FILE, findings)
        pipeline_path = _file_or_none(folder / PIPELINE_FILE)
        context_path = _file_or_none(folder / CONTEXT_FILE)
        if context_path is not None:
            findings += _check_function(context_path, "build_context")
        if (
            folder / VALIDATOR_FILE
        ).is_file() and pipeline_path is None:  # else its stages say which functions are called
            findings += _check_function(folder / VALIDATOR_FILE, "validate")
        if findings:
            raise ProblemError.listing(folder, findings)
        return cls(
            path=folder,
            name=folder.resolve().name,
            description=description,
            metrics=metrics,
            validator_path=folder / VALIDATOR_FILE,
            context_path=context_path,
            pipeline_path=pipeline_path,
            initial_programs=tuple(programs_in(folder / INITIAL_PROGRAMS_FOLDER)),
        )


def _read_description(path: Path, findings: list[str]) -> str:
    try:
        return path.read_text("utf-8-sig").strip()
    except OSError as error:
        findings.append(f"{path}: expected a text file with the task, but {error.strerror or error}")
    except UnicodeDecodeError as error:
        findings.append(f"{path}: expected UTF-8 text, but {error}")
    return ""


def _read_metrics(path: Path, findings: list[str]) -> MetricsSpec:
    try:
        return load_metrics_spec(path)
    except ProblemError as error:
        findings.extend(error.findings)
        return MetricsSpec({})


def _check_function(path: Path, function_name: str) -> list[str]:
    try:
        read_function_source(path, function_name)
    except ConfigurationError as error:
        return [str(error)]
    return []


def programs_in(folder: Path) -> list[Path]:
    """List a folder's programs, sorted by file name: its `*.py` without `__init__.py` and hidden files."""
    # __init__.py makes a package of the folder; editors leave hidden files behind.
    files = sorted(folder.glob("*.py"))
    return [file for file in files if file.name != "__init__.py" and not file.name.startswith(".")]


def _file_or_none(path: Path) -> Path | None:
    return path if path.is_file() else None
