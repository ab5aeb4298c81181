"""`gigaexec evaluate`: many programs on one problem, ranked."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from gigaexec.cli.limit_options import takes_limits
from gigaexec.cli.options import seconds
from gigaexec.cli.pool_options import (
    AUTO,
    BackendOption,
    PreloadOption,
    SandboxOption,
)
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import SandboxLevel

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
            help="Programs, or folders of them; default: the problem's initial programs.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that each call may run.", metavar="S", parser=seconds)
    ] = 60.0,
    context_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds that building the problem's context may take; default: as --timeout.",
            metavar="S",
            parser=seconds,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="How many calls run at once; default: one for each CPU.", metavar="N", min=1),
    ] = None,
    sandbox: SandboxOption = SandboxLevel.OFF,
    limits: Limits = _NO_LIMITS,
    preload: PreloadOption = None,
    backend: BackendOption = AUTO,
    output: Annotated[
        Path | None,
        typer.Option(help="Write each result to DIR/results.jsonl when it is there.", metavar="DIR"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier run in DIR.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each result as a line of JSON in place of the table.")
    ] = False,
) -> None:
    """Evaluate programs on a problem and print a ranked table.

    A program that fails or breaks the rules is listed with the reason and has no rank.
    Progress is shown on stderr if that is a terminal.

    Examples:

    \b
        gigaexec evaluate examples/heilbronn
        gigaexec evaluate examples/heilbronn mine.py candidates/ --timeout 10
        gigaexec evaluate examples/heilbronn --output runs/1 --workers 4
        gigaexec evaluate examples/heilbronn --sandbox standard --memory-mb 1024
        gigaexec evaluate examples/heilbronn --json | jq .metrics

    \b
    Exit status: 0 at least one program is valid, 1 none is, 2 wrong use, 3 at
    least one could not be evaluated because gigaexec or the machine failed,
    130 after Ctrl-C (what was done by then is shown and kept).
    """
    from gigaexec.cli.evaluation_run import EvaluationRun
    from gigaexec.cli.pool import PoolOptions
    from gigaexec.cli.programs_given import programs_to_evaluate
    from gigaexec.cli.results_file import ResultsFile
    from gigaexec.evaluation.problems import Problem

    if overwrite and output is None:
        raise typer.BadParameter("has no effect without --output", param_hint="--overwrite")
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
