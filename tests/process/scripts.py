"""Run Python source in a separate process, for tests that change, fork or kill their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

# Longer than any script takes, even on a busy machine, so that only a script that hangs fails.
TIMEOUT_S = 60.0


def run_script(source: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run `source` in a new process, with warnings as errors, and return its stdout.

    Args:
        source: Python source. Common indentation is removed.
        arguments: The script's `sys.argv[1:]`.
        env: Environment variables added to those of this process.
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
    """Run `source` in a new process and return the JSON value that it prints."""
    return json.loads(run_script(source, *arguments, env=env))


def command(source: str, *arguments: str) -> list[str]:
    """Return the command line that runs `source`."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments]


@contextmanager
def started_script(
    source: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start `source` in a process with pipes for stdin and stdout; kill it at the end of the block."""
    process = subprocess.Popen(
        command(source, *arguments),
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_json(process: subprocess.Popen[str]) -> Any:
    """Read the next line of the process's stdout and return its JSON value."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the script ended before it printed a line"
    return json.loads(line)


def is_running(pid: int) -> bool:
    """Return True if the process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def described(pids: Iterable[int]) -> str:
    """Describe processes for an error message: command, state, age and kernel stack."""
    return "; ".join(_description(pid) for pid in pids)


def _description(pid: int) -> str:
    fields = ("ppid", "status", "cmdline", "create_time", "num_threads", "cpu_times")
    try:
        facts = psutil.Process(pid).as_dict(fields)
        kernel = Path(f"/proc/{pid}/stack").read_text().split("\n")
    except (psutil.NoSuchProcess, OSError) as error:
        return f"{pid} ({error})"
    return f"{pid} {facts} age {time.time() - facts['create_time']:.2f} s, in the kernel: {kernel[:3]}"
