"""Runs a piece of Python in a process of its own: tests that change, fork or kill their process use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

# Far beyond what any script takes, also on a busy machine: a script that hangs must fail, not stop the suite.
TIMEOUT_S = 90.0


def run_script(source: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run `source` with warnings as errors and return what it printed.

    Args:
        source: Python source; its common indentation is removed.
        arguments: For its `sys.argv[1:]`.
        env: Environment variables beside those of this process.
    """
    ended = subprocess.run(
        command(source, *arguments),
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    assert not ended.stderr, ended.stderr
    return ended.stdout


def json_of_script(source: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """Run `source`, which prints one JSON value, and return that value."""
    return json.loads(run_script(source, *arguments, env=env))


def command(source: str, *arguments: str) -> list[str]:
    """The command line that runs `source`."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments]
