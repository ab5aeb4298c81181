"""The command `gigaexec`: one module for each subcommand, `render/` for output, `probes/` for `doctor`.

Importing this package imports neither typer nor rich, so that `main` can report if one of them is missing.
"""

from __future__ import annotations

import importlib
import sys

_REQUIRED_PACKAGES = ("typer", "rich")


def main() -> int:
    """Run the command line in `sys.argv` and return its exit status."""
    try:
        for package in _REQUIRED_PACKAGES:
            importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name not in _REQUIRED_PACKAGES:
            raise
        print(
            f'gigaexec: the command line needs {error.name}; install it with: pip install "gigaexec[cli]"',
            file=sys.stderr,
        )
        return 2
    from gigaexec.cli.app import run_command_line

    return run_command_line(sys.argv[1:])
