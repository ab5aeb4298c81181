"""The options that `run` and `evaluate` share: how calls run, and the limits of each call."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gigaexec.backends.registry import backend_names, require_backend_name
from gigaexec.errors import ConfigurationError
from gigaexec.limits import LIMIT_SPECS, Limits, LimitSpec
from gigaexec.sandbox.policy import SandboxLevel

_BYTES_PER_MIB = 2**20


AUTO = "auto"
"""Value of `--backend`: `forkserver` on Linux or with a sandbox, `loky` otherwise."""


def parse_backend_name(text: str) -> str:
    """Parse the name or URL of a backend, or "auto".

    Raises:
        typer.BadParameter: No backend has this name.
    """
    if text != AUTO:
        try:
            require_backend_name(text)
        except ConfigurationError as error:
            raise typer.BadParameter(f"{error}, auto") from None
    return text


def _complete_backend_name(incomplete: str) -> list[str]:
    return [name for name in (AUTO, *backend_names()) if name.startswith(incomplete)]


SandboxOption = Annotated[
    SandboxLevel,
    typer.Option(
        help="standard: use every protection that this machine offers; strict: refuse to run if a protection "
        "is missing. With standard or strict, results must be plain data.",
    ),
]
PreloadOption = Annotated[
    list[str] | None,
    typer.Option(help="Import a module once, before all calls. Repeatable.", metavar="MODULE"),
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="forkserver: a new process for every call; loky: reused processes; auto: forkserver on Linux "
        "or with a sandbox, else loky. Installed packages can add backends with other names or with URLs.",
        metavar="NAME",
        parser=parse_backend_name,
        autocompletion=_complete_backend_name,
    ),
]


def parse_seconds(text: str) -> float:
    """Parse a time limit: a finite number above 0.

    Raises:
        typer.BadParameter: The text is not a finite number above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise typer.BadParameter(f"expected a finite number of seconds above 0, got {text!r}")
    return value


def takes_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each limit whose `LimitSpec` names an option.

    On the command line, these options replace the parameter `limits` of the command. The command gets the
    values of the options as one `Limits` in that parameter.
    """
    options = {_parameter_name(spec): name for name, spec in LIMIT_SPECS.items() if spec.option}

    @functools.wraps(command)
    def command_with_options(**given: Any) -> None:
        values = {name: given.pop(parameter) for parameter, name in options.items()}
        command(**given, limits=Limits(**{name: _in_unit(name, value) for name, value in values.items()}))

    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(command, eval_str=True).parameters.values():
        if each.name == "limits":
            parameters += [_parameter(name) for name in options.values()]
        else:
            parameters.append(each)
    # Typer reads the order of the options from the signature, and their types from the annotations.
    vars(command_with_options)["__signature__"] = inspect.Signature(parameters)
    command_with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return command_with_options


def _parameter_name(spec: LimitSpec) -> str:
    return spec.option.strip("-").replace("-", "_")


def _parameter(name: str) -> inspect.Parameter:
    spec = LIMIT_SPECS[name]
    is_time = name.endswith("_s")
    settings: dict[str, Any] = {"help": spec.option_help}
    settings |= {"metavar": "S", "parser": parse_seconds} if is_time else {"metavar": "N", "min": spec.least}
    number: type = float if is_time else int
    return inspect.Parameter(
        _parameter_name(spec),
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[number | None, typer.Option(spec.option, **settings)],
    )


def _in_unit(name: str, value: Any) -> Any:
    return value * _BYTES_PER_MIB if value is not None and name.endswith("_bytes") else value
