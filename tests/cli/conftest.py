"""Fixtures for CLI tests: a function that runs the command, and a small problem folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "gigaexec"]
RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAMS = {
    "best": "def entrypoint():\n    return [3.0, 4.0]\n",
    "good": "def entrypoint():\n    return [2.0, 1.0]\n",
    "raises": "def entrypoint():\n    raise ValueError('no \\x1b[31mway')\n",
    "refused": "def entrypoint():\n    return 'text'\n",
    "syntax": "def entrypoint(:\n",
}

_VALIDATE = """
def validate(payload):
    if not isinstance(payload, list):
        raise TypeError(f"expected a list, got {type(payload).__name__}")
    return {"total": sum(payload), "longest": float(len(payload))}
"""

_METRICS = """
specs:
  total: {description: the sum, decimals: 2, is_primary: true, higher_is_better: true, upper_bound: 6.0}
  longest: {description: how many, decimals: 0, unit: items}
"""


@pytest.fixture
def gigaexec_command() -> RunCommand:
    """A function that runs the command and returns its output and exit status."""

    def run(
        *arguments: str | Path, stdin: str = "", environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(environment or {})},
            check=False,
        )

    return run


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    """A problem folder with the initial programs of `PROGRAMS`."""
    folder = tmp_path / "sums"
    (folder / "initial_programs").mkdir(parents=True)
    (folder / "validate.py").write_text(_VALIDATE)
    (folder / "metrics.yaml").write_text(_METRICS)
    (folder / "task_description.txt").write_text("Return numbers with a large sum.")
    for name, code in PROGRAMS.items():
        (folder / "initial_programs" / f"{name}.py").write_text(code)
    return folder
