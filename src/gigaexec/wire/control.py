"""The template's protocol: settings and fork requests from the driver, refusals and exit reports back."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Any

from gigaexec.measured import Usage
from gigaexec.sandbox.policy import SandboxPolicy

_PERMANENT, _SHORTAGE = b"!", b"?"


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """The settings of a template, sent when it starts.

    Args:
        driver_pid: Process id of the driver.
        node_id: Name of the driver's machine.
        enable_pdeathsig: True to use PR_SET_PDEATHSIG.
        preload: Modules to import.
        policy: The sandbox of programs.
        spill_dir: Folder of scratch folders and results.
    """

    driver_pid: int
    node_id: str
    enable_pdeathsig: bool
    preload: tuple[str, ...]
    policy: SandboxPolicy
    spill_dir: str


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """A request for a worker. Four descriptors come with it: channel, control, stdout and stderr.

    Args:
        worker_id: 12 hex digits.
        folder: The program's current folder; "" if it is the scratch folder.
        scratch: The program's scratch folder; "" if it is not confined.
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
    """The reason why a requested worker does not start.

    Args:
        text: The reason.
        is_shortage: True if the machine is out of a resource, and a later request may succeed.
    """

    text: str
    is_shortage: bool

    def encode(self) -> bytes:
        return (_SHORTAGE if self.is_shortage else _PERMANENT) + self.text.encode("utf-8", "replace")

    @classmethod
    def decode(cls, text: bytes) -> StartRefusal | None:
        """Decode a refusal. Return None for anything else."""
        mark = text[:1]
        if mark not in (_PERMANENT, _SHORTAGE):
            return None
        return cls(text[1:].decode("utf-8", "replace"), mark == _SHORTAGE)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The exit report of a worker.

    Args:
        wait_status: Status from wait(2).
        peak_rss_kb: Peak resident memory, KiB: the larger of the worker's and that of a child that it waited
            for.
        used: CPU time, switches and faults, including children that it waited for.
    """

    wait_status: int
    peak_rss_kb: int
    used: Usage

    def encode(self) -> bytes:
        return json.dumps([self.wait_status, self.peak_rss_kb, *astuple(self.used)]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> WorkerReport:
        """Decode a report. Raises ValueError for anything else."""
        numbers: Any = json.loads(text)
        if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("not the exit report of a worker")
        status, peak, *used = numbers
        try:
            return cls(status, peak, Usage(*used))
        except TypeError as error:
            raise ValueError("not the exit report of a worker") from error
