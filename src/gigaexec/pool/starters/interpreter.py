"""The command line of a new interpreter that imports from the same folders as this process."""

from __future__ import annotations

import os
import subprocess
import sys


def interpreter_command(code: str, *arguments: object) -> list[str]:
    """Return the command line of an interpreter that sets `sys.path` to this process's, then runs `code`.

    Args:
        code: Python statements, which find the arguments as text in `sys.argv[1:]`.
        arguments: The arguments of `code`.
    """
    # sys.path is set first, because a bare interpreter may not find the driver's site-packages. Before that,
    # nothing may be imported from a file: the current folder would be searched first, and other users may be
    # able to write to that folder. The interpreter option -P keeps the current folder out of sys.path from
    # the start: since Python 3.13, the interpreter itself imports a module before it runs the code of -c.
    first = len(arguments) + 1
    boot = f"import sys; sys.path[:] = sys.argv[{first}:]; del sys.argv[{first}:]; {code}"
    folders = [entry for entry in sys.path if isinstance(entry, str) and _is_path(entry)]
    return [sys.executable, *_interpreter_flags(), "-P", "-c", boot, *map(str, arguments), *folders]


def _is_path(text: str) -> bool:
    """True if the text can be passed as a process argument. Other texts cannot name a folder either."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _interpreter_flags() -> list[str]:
    # multiprocessing uses the same function to start interpreters. typeshed lacks the function: it is
    # private.
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # see above
