"""Processes that programs write down in a file, so that a test can see which of them still run.

A program in a PID namespace knows its processes by other numbers than the test does. What both see alike is
the namespace, the number in it and the moment when the process started.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

NOTE_PROCESS = '''
def note_process(path, pid="self"):
    """Write a process of this namespace down in the file of a RecordedPids."""
    import os
    with open(f"/proc/{pid}/stat") as file:
        number, _, rest = file.read().partition(" (")
    namespace, started_at = os.readlink(f"/proc/{pid}/ns/pid"), rest.rpartition(")")[2].split()[19]
    with open(path, "a") as file:
        file.write(f"{namespace} {number} {started_at}\\n")
'''
"""To be put before the code of a program. Field 22 of proc_pid_stat(5) is the start, in ticks since boot."""


class Recorded(NamedTuple):
    """A process, as it sees itself."""

    namespace: str
    number: int
    started_at: int


class RecordedPids:
    """The processes in one file, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def all(self) -> list[Recorded]:
        """Every process that was written down."""
        path = Path(self.path)
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            Recorded(namespace, int(number), int(start))
            for namespace, number, start in (line.split() for line in lines)
        ]

    def running(self) -> list[int]:
        """The pids, as this process sees them, of those that run; one that waits to be reaped does not."""
        recorded = set(self.all())
        return [pid for pid, found in _running_processes() if found in recorded] if recorded else []

    def kill(self) -> None:
        """End those that still run."""
        for pid in self.running():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _running_processes() -> Iterator[tuple[int, Recorded]]:
    for pid in psutil.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
            if fields[0] not in "ZX":
                number = status.partition("NSpid:")[2].partition("\n")[0].split()[-1]
                namespace = str(Path(f"/proc/{pid}/ns/pid").readlink())
                yield pid, Recorded(namespace, int(number), int(fields[19]))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is of another user
