"""The options that say how a command runs its calls, in the same words for every command."""

from __future__ import annotations

from typing import Annotated

import typer

from gigaexec.backends.registry import require_backend_name
from gigaexec.errors import ConfigurationError
from gigaexec.sandbox.policy import SandboxLevel

PANEL = "How calls run"


AUTO = "auto"
"""Value of `--backend`: `forkserver` on Linux, `loky` elsewhere."""


def backend_name(text: str) -> str:
    """Read the name or URL of a backend. An unknown one ends the command with status 2."""
    if text != AUTO:
        try:
            require_backend_name(text)
        except ConfigurationError as error:
            raise typer.BadParameter(f"{error}; auto chooses one") from None
    return text


SandboxOption = Annotated[
    SandboxLevel,
    typer.Option(
        help="Confine programs: standard by all that this machine allows, strict by everything or not at "
        "all. Values are then plain data.",
        rich_help_panel=PANEL,
    ),
]
PreloadOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A module to import once, before all calls; may be given more than once.",
        metavar="MODULE",
        rich_help_panel=PANEL,
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        help="forkserver: a fresh process for every call. loky: reused processes. auto: forkserver on Linux, "
        "loky elsewhere. Installed packages add others, by name or URL.",
        metavar="NAME",
        parser=backend_name,
        rich_help_panel=PANEL,
    ),
]
