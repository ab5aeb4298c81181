"""`gigaexec run`: one call of one program."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gigaexec.cli.exit_codes import ExitCode
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

_NO_LIMITS = Limits()
_STANDARD_INPUT = "-"


@takes_limits
def run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file, or - for standard input.")],
    function: Annotated[str, typer.Option("--function", "-f", help="The function to call.", metavar="NAME")],
    args: Annotated[str, typer.Option(help="Positional arguments, a JSON array.", metavar="JSON")] = "[]",
    kwargs: Annotated[str, typer.Option(help="Keyword arguments, a JSON object.", metavar="JSON")] = "{}",
    timeout: Annotated[
        float, typer.Option(help="Maximum run time of the call, seconds.", metavar="S", parser=parse_seconds)
    ] = 60,
    python_path: Annotated[
        list[Path] | None,
        typer.Option(
            help="Add a folder to import from. Repeatable. The folder of FILE comes last.",
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
        bool, typer.Option("--json", help="Print the full outcome as one line of JSON.")
    ] = False,
) -> None:
    """Call one function of a program in a worker process and print what it returns.

    The value is printed as JSON if possible, else as its repr. Failures and the
    output of the program go to stderr.

    Examples:

    \b
        gigaexec run square.py --function square --args '[12]'
        gigaexec run fit.py -f fit --kwargs '{"steps": 100}' --timeout 10 --json
        gigaexec run unknown.py -f main --sandbox strict --memory-mb 512
        echo 'def f(): return 42' | gigaexec run - -f f

    \b
    Exit status: 0 the call returned, 1 the call failed (an exception, a timeout,
    a crash, a limit), 2 wrong use, 3 gigaexec or the machine failed.
    """
    from gigaexec.calls import OutcomeStatus, WorkerCall
    from gigaexec.cli.interrupt import run_interruptibly
    from gigaexec.cli.pool import PoolOptions, run_one_call
    from gigaexec.cli.render.outcome import outcome_as_json, show_outcome

    call = WorkerCall(
        code=_read_program(file),
        function_name=function,
        args=_parse_json(list, args, option="'--args'", example="[1, 2]"),
        kwargs=_parse_json(dict, kwargs, option="'--kwargs'", example='{"n": 1}'),
        python_path=[str(folder.absolute()) for folder in python_path or []],
        file=None if file == _STANDARD_INPUT else str(Path(file).absolute()),
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


def _read_program(file: str) -> str:
    """Return the source text of a file, or of standard input if `file` is "-".

    Raises:
        ConfigurationError: The file cannot be read, or is not Python source text.
    """
    from gigaexec.evaluation.programs import read_source

    if file != _STANDARD_INPUT:
        return read_source(file)
    try:
        with open(0, "rb", closefd=False) as standard_input:
            return importlib.util.decode_source(standard_input.read())
    except OSError as error:
        raise ConfigurationError(f"standard input cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: an unknown codec is declared (PEP 263)
        raise ConfigurationError(f"standard input is not Python source text: {error}") from error


def _parse_json(
    expected: type[list[Any]] | type[dict[str, Any]], text: str, *, option: str, example: str
) -> Any:
    """Parse JSON whose outermost value must be an array or an object.

    Args:
        expected: Type of the parsed value: `list` or `dict`.
        text: Text that the user gave for the option.
        option: Name of the option, for the message.
        example: A valid value, for the message.

    Raises:
        typer.BadParameter: The text is not JSON, or its value is of another type.
    """
    kind = "array" if expected is list else "object"
    hint = f"give an {kind} such as {example}"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"not valid JSON ({_json_mistake(error)}); {hint}", param_hint=option
        ) from None
    except (ValueError, RecursionError) as error:  # ValueError: a long number; RecursionError: deep nesting
        raise typer.BadParameter(f"Python cannot read this JSON ({error})", param_hint=option) from None
    if not isinstance(value, expected):
        raise typer.BadParameter(
            f"expected a JSON {kind} such as {example}, got {text:.60}", param_hint=option
        )
    return value


def _json_mistake(error: json.JSONDecodeError) -> str:
    """Return the mistake and its position as text, such as: "," expected at column 3."""
    position = f"at column {error.colno}"
    if error.lineno > 1:
        position = f"at line {error.lineno}, column {error.colno}"
    missing = re.fullmatch(r"Expecting (?:'(?P<mark>.)' delimiter|(?P<what>.+))", error.msg)
    if missing is None:
        message = error.msg.removesuffix(" at").removesuffix(" starting")
        return f"{message[:1].lower()}{message[1:]} {position}"
    mark, what = missing.group("mark", "what")
    return f'"{mark}" expected {position}' if mark else f"{what} expected {position}"
