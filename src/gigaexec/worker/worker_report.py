"""What the kernel says of a worker that has ended, told by a process that no program reaches."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Any

from gigaexec.worker.accounting import Usage


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How a worker ended.

    Args:
        wait_status: As wait(2) gives it.
        peak_rss_kb: Peak of resident memory, KiB: the worker's, or that of a child that it waited for.
        used: What it used, with the children that it waited for.
    """

    wait_status: int
    peak_rss_kb: int
    used: Usage

    def encode(self) -> bytes:
        return json.dumps([self.wait_status, self.peak_rss_kb, *astuple(self.used)]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> WorkerReport:
        """Read a report. Raises ValueError for anything else."""
        numbers: Any = json.loads(text)
        if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("no report of a worker")
        status, peak, *used = numbers
        try:
            return cls(status, peak, Usage(*used))
        except TypeError as error:
            raise ValueError("no report of a worker") from error
