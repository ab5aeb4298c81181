"""`gigaexec evaluate`: many programs on one problem, ranked."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaexec.cli.options import (
    AUTO,
    BackendOption,
    PreloadOption,
    SandboxOption,
    parse_seconds,
    takes_limits,
)
from gigaexec.errors import ConfigurationError
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import SandboxLevel

if TYPE_CHECKING:
    from gigaexec.evaluation.problems import Problem

_NO_LIMITS = Limits()


@takes_limits
def evaluate(
    problem: Annotated[
        Path, typer.Argument(metavar="PROBLEM", help="A problem folder: validate.py, metrics.yaml and so on.")
    ],
    programs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PROGRAM",
            help="Programs, or folders of programs; default: the problem's initial programs.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Maximum run time of each call, seconds.", metavar="S", parser=parse_seconds)
    ] = 60,
    context_timeout: Annotated[
        float | None,
        typer.Option(
            help="Maximum time to build the problem's context, seconds; default: --timeout.",
            metavar="S",
            parser=parse_seconds,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of calls that run at once; default: one per CPU.", metavar="N", min=1),
    ] = None,
    sandbox: SandboxOption = SandboxLevel.OFF,
    limits: Limits = _NO_LIMITS,
    preload: PreloadOption = None,
    backend: BackendOption = AUTO,
    output: Annotated[
        Path | None,
        typer.Option(help="Write each result to DIR/results.jsonl as soon as it is ready.", metavar="DIR"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier run in DIR.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each result as a line of JSON instead of the table.")
    ] = False,
) -> None:
    """Evaluate programs on a problem and print a ranked table.

    A program that fails or breaks the rules is listed with the reason, without a rank.
    Progress is shown on stderr if stderr is a terminal.

    Examples:

    \b
        gigaexec evaluate examples/heilbronn
        gigaexec evaluate examples/heilbronn mine.py candidates/ --timeout 10
        gigaexec evaluate examples/heilbronn --output runs/1 --workers 4
        gigaexec evaluate examples/heilbronn --sandbox standard --memory-mb 1024
        gigaexec evaluate examples/heilbronn --json | jq .metrics

    \b
    Exit status: 0 at least one program is valid, 1 no program is valid, 2 wrong
    use, 3 at least one program could not be evaluated because gigaexec or the
    machine failed, 130 after Ctrl-C (results until then are shown and kept).
    """
    from gigaexec.cli.evaluation_run import EvaluationRun
    from gigaexec.cli.pool import PoolOptions
    from gigaexec.cli.results_file import ResultsFile
    from gigaexec.evaluation.problems import Problem

    if overwrite and output is None:
        raise typer.BadParameter("has no effect without --output", param_hint="'--overwrite'")
    options = PoolOptions(
        backend=backend,
        sandbox=sandbox,
        limits=limits,
        preload=tuple(preload or ()),
        max_workers=workers,
    )
    loaded = Problem.load(problem)
    files = programs_to_evaluate(loaded, programs or [])
    with nullcontext() if output is None else ResultsFile(output, overwrite=overwrite) as results:
        run = EvaluationRun(loaded, files, results, prints_json=as_json)
        run.evaluate(timeout_s=timeout, context_timeout_s=context_timeout, options=options)
    raise typer.Exit(run.exit_code)


def programs_to_evaluate(problem: Problem, paths: Sequence[Path]) -> list[Path]:
    """Return the program files for the PROGRAM arguments of the command line, each file once.

    Args:
        problem: The problem. Its initial programs are returned if `paths` is empty.
        paths: Files and folders. A file may have any name. From a folder, the files `*.py` are taken, without
            `__init__.py` and hidden files.

    Raises:
        ConfigurationError: A path is neither a file nor a folder, or there is no program.
    """
    if not paths:
        if not problem.initial_programs:
            raise ConfigurationError(
                f"{problem.path} contains no initial_programs/*.py; "
                f"name the programs to evaluate: gigaexec evaluate {problem.path} PROGRAM..."
            )
        return list(problem.initial_programs)
    files: dict[Path, Path] = {}
    for path in paths:
        for file in _files_of(path):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _files_of(path: Path) -> list[Path]:
    from gigaexec.evaluation.problems.problem import programs_in

    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(f"no such file or folder: {path}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        # Reading from a pipe or a device could block forever, and so block the evaluation of all programs.
        raise ConfigurationError(
            f"{path}: expected a program or a folder of programs, not a pipe, a socket or a device"
        )
    found = [file for file in programs_in(path) if file.is_file()]
    if not found:
        raise ConfigurationError(f"no programs (*.py) in {path}")
    return found
