"""Find all processes that a driver under test started, including daemons that left its process tree.

An environment variable of the driver, which workers inherit, marks the driver, its workers and all processes
that their programs start.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.process.scripts import is_running

NAME = "GIGAEVO_TEST_MARK"


class Mark:
    """An environment variable with a unique value, which marks a process and its descendants."""

    def __init__(self) -> None:
        self._value = uuid.uuid4().hex

    @property
    def env(self) -> dict[str, str]:
        """Environment variables to add for the process under test."""
        return {NAME: self._value}

    def pids(self) -> set[int]:
        """Return the pids of running processes with the mark."""
        wanted = f"{NAME}={self._value}".encode()
        return {pid for pid in _all_pids() if wanted in _environment_of(pid) and is_running(pid)}

    def worker_pids(self) -> set[int]:
        """Return the pids of marked processes that are workers or descendants of workers."""
        return {
            pid
            for pid in self.pids()
            if any(entry.startswith(b"GIGAEVO_WORKER_ID=") for entry in _environment_of(pid))
        }


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment_of(pid: int) -> list[bytes]:
    if pid == os.getpid():
        return []
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
