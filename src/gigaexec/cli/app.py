"""The subcommands put together, and what every one of them shares: how errors reach the user."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from gigaexec import __version__
from gigaexec.cli.doctor import doctor
from gigaexec.cli.evaluate import evaluate
from gigaexec.cli.exit_codes import ExitCode, Interrupted
from gigaexec.cli.log_output import show_warnings
from gigaexec.cli.run import run
from gigaexec.cli.streams import prepare_streams
from gigaexec.errors import GigaexecError, InfrastructureError
from gigaexec.untrusted.log_text import block

# Plain help (no rich panels): examples keep their line breaks, and `--help` does not wait for rich to load.
app = typer.Typer(
    name="gigaexec",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gigaexec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Run generated Python programs, each call in a worker process with a deadline.

    Examples:

    \b
        gigaexec run square.py --function square --args '[12]'
        gigaexec evaluate examples/heilbronn
        gigaexec doctor

    \b
    Exit status: 0 done, 1 it finished with failures, 2 wrong use, 3 gigaexec or
    the machine failed, 130 after Ctrl-C.
    """


class _Command(TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Some versions of typer put what is required in braces, which mean alternatives elsewhere.
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


app.command(
    short_help="Call one function of one program.",
    cls=_Command,
    options_metavar="--function NAME [OPTIONS]",
)(run)
app.command(short_help="Evaluate programs on a problem and rank them.", cls=_Command)(evaluate)
app.command(short_help="Check this machine.")(doctor)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. Errors are told on stderr, in words."""
    prepare_streams()
    show_warnings()
    # A KeyboardInterrupt would end with typer's own word and status.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        status = _status_of(arguments)
        sys.stdout.flush()
    except Interrupted as interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Handlers in Python are gone before the interpreter is; a late signal would change the status.
            signal.signal(number, signal.SIG_IGN)
        _tell(f"stopped by {interruption.signal_name}{interruption.progress}")
        return 128 + interruption.signal_number
    except InfrastructureError as error:
        _tell(str(error))
        return ExitCode.INFRASTRUCTURE
    except GigaexecError as error:
        _tell(str(error))
        return ExitCode.WRONG_USE
    return status


def _status_of(arguments: Sequence[str]) -> int:
    try:
        return _as_status(app(args=list(arguments), prog_name="gigaexec", standalone_mode=True))
    except SystemExit as leaving:
        return _as_status(leaving.code)


def _interrupt(signal_number: int, _: FrameType | None) -> NoReturn:
    # An impatient second one must not break into the command's end. SIG_IGN would be inherited by processes.
    signal.signal(signal_number, lambda _number, _frame: None)
    raise Interrupted(signal_number)


def _as_status(code: object) -> int:
    if isinstance(code, int):
        return code
    return ExitCode.DONE if code is None else ExitCode.FAILED


def _tell(message: str) -> None:
    print(f"gigaexec: {block(message)}", file=sys.stderr)
