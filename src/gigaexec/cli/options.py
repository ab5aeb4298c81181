"""Reading the values of command-line options. A mistake ends the command with status 2 and one sentence."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import typer

STANDARD_INPUT = "-"


def seconds(text: str) -> float:
    """Read a limit in seconds: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise typer.BadParameter(f"expected a number of seconds above 0, got {text!r}")
    return value


def json_of_type(
    expected: type[list[Any]] | type[dict[str, Any]], text: str, *, option: str, example: str
) -> Any:
    """Read JSON whose outermost value is of one type.

    Args:
        expected: `list` or `dict`.
        text: What the user typed.
        option: Name of the option, for the message.
        example: A right value, for the message.
    """
    hint = f"a JSON {'array' if expected is list else 'object'} such as {example}"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"expected {hint}, but {error}", param_hint=option) from None
    if not isinstance(value, expected):
        raise typer.BadParameter(f"expected {hint}, got {text:.60}", param_hint=option)
    return value


def source_of(file: str) -> str:
    """Return the program in a file, or on standard input where `file` is "-".

    Raises:
        ConfigurationError: The file cannot be read as Python source.
    """
    from gigaexec.errors import ConfigurationError
    from gigaexec.evaluation.programs import read_source

    if file != STANDARD_INPUT:
        return read_source(file)
    try:
        with open(0, "rb", closefd=False) as standard_input:
            return importlib.util.decode_source(standard_input.read())
    except OSError as error:
        raise ConfigurationError(f"standard input cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: a coding line that names no codec
        raise ConfigurationError(f"standard input is not Python source text: {error}") from error


def import_folders(file: str, python_path: list[Path]) -> list[str]:
    """The folders that a program can import from: those given, then the one that its file is in."""
    own = [] if file == STANDARD_INPUT else [Path(file).absolute().parent]
    return [str(folder.absolute()) for folder in [*python_path, *own]]
