"""Assemble the command line: subcommands, exit statuses and error messages."""

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
from gigaexec.cli.exit_codes import STOP_SIGNALS, ExitCode, Interrupted
from gigaexec.cli.run import run
from gigaexec.cli.streams import log_warnings_to_stderr, prepare_streams, print_error
from gigaexec.errors import GigaexecError, InfrastructureError

# Plain help without rich panels: examples keep their line breaks, and `--help` does not load rich.
app = typer.Typer(
    name="gigaexec",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(is_requested: bool) -> None:
    if is_requested:
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
    Exit status: 0 done, 1 done with failures, 2 wrong use, 3 gigaexec or the
    machine failed, 130 after Ctrl-C.
    """


class _Command(TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Some versions of typer put required arguments in braces, which usually mean alternatives.
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


app.command(
    short_help="Call one function of one program.",
    cls=_Command,
    options_metavar="--function NAME [OPTIONS]",
)(run)
app.command(short_help="Evaluate programs on a problem and rank them.", cls=_Command)(evaluate)
app.command(short_help="Check this machine.")(doctor)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. An error is written to stderr as a message.

    Args:
        arguments: The arguments after the name of the command.
    """
    prepare_streams()
    log_warnings_to_stderr()
    # Without this handler, Ctrl-C raises KeyboardInterrupt, for which typer has its own message and status.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        status = _run_app(arguments)
        sys.stdout.flush()
    except Interrupted as interruption:
        for number in STOP_SIGNALS:
            # Python removes signal handlers when it exits. A signal after that would change the exit status.
            signal.signal(number, signal.SIG_IGN)
        print_error(f"stopped by {interruption.signal_name}{interruption.progress}")
        return 128 + interruption.signal_number
    except InfrastructureError as error:
        print_error(str(error))
        return ExitCode.INFRASTRUCTURE
    except GigaexecError as error:
        print_error(str(error))
        return ExitCode.WRONG_USE
    return status


def _run_app(arguments: Sequence[str]) -> int:
    try:
        app(args=list(arguments), prog_name="gigaexec")
    except SystemExit as exit_request:
        if isinstance(exit_request.code, int):
            return exit_request.code
        return ExitCode.DONE if exit_request.code is None else ExitCode.FAILED
    return ExitCode.DONE


def _interrupt(signal_number: int, _: FrameType | None) -> NoReturn:
    # A second Ctrl-C must not interrupt the cleanup. SIG_IGN is not used: new processes would inherit it.
    signal.signal(signal_number, lambda _number, _frame: None)
    raise Interrupted(signal_number)
