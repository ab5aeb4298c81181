"""A record of processes that programs write to a file, so that a test can check which still run.

A program in a PID namespace sees other pids than the test. Both see a process's PID namespace, its pid inside
that namespace and its start time, which together identify the process.
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
    """Append a process of this PID namespace to the file of a RecordedPids."""
    import os
    with open(f"/proc/{pid}/stat") as file:
        number, _, rest = file.read().partition(" (")
    namespace, started_at = os.readlink(f"/proc/{pid}/ns/pid"), rest.rpartition(")")[2].split()[19]
    with open(path, "a") as file:
        file.write(f"{namespace} {number} {started_at}\\n")
'''
"""Source to put before a program. The start time is field 22 of proc_pid_stat(5), in ticks since boot."""


class Recorded(NamedTuple):
    """A process, identified by its PID namespace, its pid there and its start time in ticks since boot."""

    namespace: str
    number: int
    started_at: int


class RecordedPids:
    """The processes recorded in one file, one process per line."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def all(self) -> list[Recorded]:
        """Return all recorded processes."""
        path = Path(self.path)
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            Recorded(namespace, int(number), int(start))
            for namespace, number, start in (line.split() for line in lines)
        ]

    def running(self) -> list[int]:
        """Return the pids, in the test's namespace, of recorded processes that run; zombies do not count."""
        recorded = set(self.all())
        return [pid for pid, found in _running_processes() if found in recorded] if recorded else []

    def kill(self) -> None:
        """Send SIGKILL to the recorded processes that still run."""
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
            continue  # the process has ended or belongs to another user
