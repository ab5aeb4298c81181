"""The command `gigaexec`. One module holds one subcommand.

Importing this package loads nothing: `main` does, so that the command can say what is missing.
"""

from __future__ import annotations

import importlib
import sys

_NEEDED = ("typer", "rich")


def main() -> int:
    """Run the command line in `sys.argv` and return its exit status."""
    try:
        for package in _NEEDED:
            importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(
            f'gigaexec: the command line needs {error.name}; install it with: pip install "gigaexec[cli]"',
            file=sys.stderr,
        )
        return 2
    from gigaexec.cli.app import run_command_line

    return run_command_line(sys.argv[1:])
