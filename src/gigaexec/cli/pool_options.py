"""The options that say how a command runs its calls, in the same words for every command."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from gigaexec.sandbox.policy import SandboxLevel

PANEL = "How calls run"


class BackendChoice(enum.StrEnum):
    """Where a command runs its calls."""

    AUTO = "auto"
    """`forkserver` on Linux, `loky` elsewhere."""
    FORKSERVER = "forkserver"
    LOKY = "loky"


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
    BackendChoice,
    typer.Option(
        help="forkserver: a fresh process for every call. loky: reused ones. auto: forkserver on Linux.",
        rich_help_panel=PANEL,
    ),
]
