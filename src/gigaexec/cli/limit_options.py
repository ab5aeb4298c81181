"""The command-line options of limits, made from `LIMIT_SPECS`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gigaexec.cli.options import seconds
from gigaexec.cli.pool_options import PANEL
from gigaexec.limits import LIMIT_SPECS, Limits, LimitSpec

_BYTES_PER_MIB = 2**20


def takes_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each limit that has one.

    The options take the place of the command's parameter `limits`, which gets them as a `Limits`.
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
    # Typer reads both.
    vars(command_with_options)["__signature__"] = inspect.Signature(parameters)
    command_with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return command_with_options


def _parameter_name(spec: LimitSpec) -> str:
    return spec.option.strip("-").replace("-", "_")


def _parameter(name: str) -> inspect.Parameter:
    spec = LIMIT_SPECS[name]
    is_time = name.endswith("_s")
    about: dict[str, Any] = {"help": spec.option_help, "rich_help_panel": PANEL}
    about |= {"metavar": "S", "parser": seconds} if is_time else {"metavar": "N", "min": spec.least}
    number: type = float if is_time else int
    return inspect.Parameter(
        _parameter_name(spec),
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=Annotated[number | None, typer.Option(spec.option, **about)],
    )


def _in_unit(name: str, value: Any) -> Any:
    return value * _BYTES_PER_MIB if value is not None and name.endswith("_bytes") else value
