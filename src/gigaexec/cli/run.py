"""`gigaexec run`: one call of one program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gigaexec.cli.exit_codes import ExitCode
from gigaexec.cli.limit_options import takes_limits
from gigaexec.cli.options import import_folders, json_of_type, seconds, source_of
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
def run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file, or - for standard input.")],
    function: Annotated[str, typer.Option("--function", "-f", help="The function to call.", metavar="NAME")],
    args: Annotated[str, typer.Option(help="Positional arguments, a JSON array.", metavar="JSON")] = "[]",
    kwargs: Annotated[str, typer.Option(help="Keyword arguments, a JSON object.", metavar="JSON")] = "{}",
    timeout: Annotated[
        float, typer.Option(help="Seconds that the call may run.", metavar="S", parser=seconds)
    ] = 60.0,
    python_path: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder to import from; may be given more than once. FILE's own comes after them.",
            metavar="DIR",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    sandbox: SandboxOption = SandboxLevel.OFF,
    limits: Limits = _NO_LIMITS,
    preload: PreloadOption = None,
    backend: BackendOption = AUTO,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known of the call as one line of JSON.")
    ] = False,
) -> None:
    """Call one function of a program in a worker process and print what it returns.

    The value is printed as JSON if JSON can hold it, else as its repr. What the program
    wrote itself, and failures, go to stderr.

    Examples:

    \b
        gigaexec run square.py --function square --args '[12]'
        gigaexec run fit.py -f fit --kwargs '{"steps": 100}' --timeout 10 --json
        gigaexec run unknown.py -f main --sandbox strict --memory-mb 512
        echo 'def f(): return 42' | gigaexec run - -f f

    \b
    Exit status: 0 the call returned, 1 it failed (an exception, a timeout, a
    crash, a limit), 2 wrong use, 3 gigaexec or the machine failed.
    """
    from gigaexec.calls import OutcomeStatus, WorkerCall
    from gigaexec.cli.interrupt import run_interruptibly
    from gigaexec.cli.outcome_text import outcome_as_json, show_outcome
    from gigaexec.cli.pool import PoolOptions, run_one_call

    call = WorkerCall(
        code=source_of(file),
        function_name=function,
        args=json_of_type(list, args, option="--args", example="[1, 2]"),
        kwargs=json_of_type(dict, kwargs, option="--kwargs", example='{"n": 1}'),
        python_path=import_folders(file, python_path or []),
    )
    options = PoolOptions(
        backend=backend,
        sandbox=sandbox,
        limits=limits,
        preload=tuple(preload or ()),
    )
    outcome = run_interruptibly(run_one_call(call, options, deadline_s=timeout))
    if as_json:
        print(outcome_as_json(outcome))
    else:
        show_outcome(outcome)
    if outcome.status is OutcomeStatus.INFRASTRUCTURE:
        raise typer.Exit(ExitCode.INFRASTRUCTURE)
    raise typer.Exit(ExitCode.DONE if outcome.ok else ExitCode.FAILED)
