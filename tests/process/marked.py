"""Finding every process that a driver under test started, however far it has run away from it.

A variable of the driver's environment that workers may see marks the driver, its workers and whatever their
programs start.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.process.scripts import is_running

NAME = "GIGAEVO_TEST_MARK"


class Mark:
    """A mark that no other process carries."""

    def __init__(self) -> None:
        self._value = uuid.uuid4().hex

    @property
    def env(self) -> dict[str, str]:
        """Variables to add to the environment of the process under test."""
        return {NAME: self._value}

    def pids(self) -> set[int]:
        """The running processes that were started with the mark."""
        wanted = f"{NAME}={self._value}".encode()
        return {pid for pid in _all_pids() if wanted in _environment_of(pid) and is_running(pid)}

    def worker_pids(self) -> set[int]:
        """Marked processes that are workers, or that a worker started."""
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
