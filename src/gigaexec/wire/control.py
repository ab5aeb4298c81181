"""The template's protocol: settings and fork requests from the driver, refusals and exit reports to it."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Any

from gigaexec.measured import Usage
from gigaexec.sandbox.policy import SandboxPolicy

_FOR_GOOD, _SHORTAGE = b"!", b"?"


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """What a template is told when it starts.

    Args:
        driver_pid: Process id of the driver.
        node_id: Name of the driver's machine.
        enable_pdeathsig: Whether to ask for PR_SET_PDEATHSIG.
        preload: Modules to import.
        policy: How programs are confined.
        spill_dir: Where scratch folders and results are.
    """

    driver_pid: int
    node_id: str
    enable_pdeathsig: bool
    preload: tuple[str, ...]
    policy: SandboxPolicy
    spill_dir: str


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Asks for a worker. Four descriptors come with it: channel, control, stdout and stderr.

    Args:
        worker_id: 12 hex digits.
        folder: The program's current folder; "" where it is the scratch folder.
        scratch: Its scratch folder; "" where it is not confined.
    """

    worker_id: str
    folder: str
    scratch: str

    def encode(self) -> bytes:
        return json.dumps([self.worker_id, self.folder, self.scratch]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> ForkRequest:
        return cls(*json.loads(text))


@dataclass(frozen=True, slots=True)
class StartRefusal:
    """Why a worker that was asked for will not come to be.

    Args:
        text: What went wrong.
        is_shortage: The machine is out of something, and another request may succeed.
    """

    text: str
    is_shortage: bool

    def encode(self) -> bytes:
        return (_SHORTAGE if self.is_shortage else _FOR_GOOD) + self.text.encode("utf-8", "replace")

    @classmethod
    def decode(cls, text: bytes) -> StartRefusal | None:
        """Read a refusal. None for anything else."""
        mark = text[:1]
        if mark not in (_FOR_GOOD, _SHORTAGE):
            return None
        return cls(text[1:].decode("utf-8", "replace"), mark == _SHORTAGE)


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
