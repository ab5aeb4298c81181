"""Runs a piece of Python in a process of its own: tests that change, fork or kill their process use it."""

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

# Far beyond what any script takes, also on a busy machine: a script that hangs must fail, not stop the suite.
TIMEOUT_S = 60.0


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
    assert not without_tracker(ended.stderr), ended.stderr
    return ended.stdout


def without_tracker(stderr: str) -> str:
    """Leave out what loky's resource tracker, a process of its own, says as it ends after the script.

    Seen about once in a thousand exits under load, not explained: it still lists a semaphore whose file the
    script has already removed, and fails to remove it again. Nothing is left behind.
    """
    is_tracker = "loky/backend/resource_tracker.py" in stderr and "FileNotFoundError" in stderr
    return "" if is_tracker else stderr


def json_of_script(source: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """Run `source`, which prints one JSON value, and return that value."""
    return json.loads(run_script(source, *arguments, env=env))


def command(source: str, *arguments: str) -> list[str]:
    """The command line that runs `source`."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments]


@contextmanager
def started_script(
    source: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start `source` in a process that is killed at the end of the block; talk to it on its pipes."""
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
    """Read the next line that the process prints, a JSON value."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the script ended before it reported"
    return json.loads(line)


def is_running(pid: int) -> bool:
    """Return True if the process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def described(pids: Iterable[int]) -> str:
    """The processes as far as they are still there, for a failure: what they are, and what they wait for."""
    return "; ".join(_description(pid) for pid in pids)


def _description(pid: int) -> str:
    fields = ("ppid", "status", "cmdline", "create_time", "num_threads", "cpu_times")
    try:
        facts = psutil.Process(pid).as_dict(fields)
        kernel = Path(f"/proc/{pid}/stack").read_text().split("\n")
    except (psutil.NoSuchProcess, OSError) as error:
        return f"{pid} ({error})"
    return f"{pid} {facts} age {time.time() - facts['create_time']:.2f} s, in the kernel: {kernel[:3]}"
