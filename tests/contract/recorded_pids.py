"""Process ids that programs write into a file, so that a test can see who still runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil


class RecordedPids:
    """The ids in one file, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def all(self) -> list[int]:
        """Every id that was written."""
        path = Path(self.path)
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def running(self) -> list[int]:
        """Those whose process runs; one that is dead and waits to be reaped does not."""
        return [pid for pid in self.all() if _is_running(pid)]

    def kill(self) -> None:
        """End those that still run."""
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
