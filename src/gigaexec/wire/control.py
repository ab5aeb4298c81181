"""Messages between driver and template.

The driver sends settings and fork requests. The template sends refusals and the reports of ended workers.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, fields
from typing import Any

from gigaexec.measured import Usage
from gigaexec.sandbox.policy import SandboxPolicy

_PERMANENT, _SHORTAGE = b"!", b"?"


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """The settings that the driver sends to a starting template.

    Args:
        driver_pid: Process id of the driver.
        node_id: Name of the driver's machine.
        enable_pdeathsig: True to use PR_SET_PDEATHSIG, see `WorkerConfig`.
        preload: Names of modules that the template imports.
        policy: Sandbox policy for programs.
        spill_dir: Folder for scratch folders and for files with results.
    """

    driver_pid: int
    node_id: str
    enable_pdeathsig: bool
    preload: tuple[str, ...]
    policy: SandboxPolicy
    spill_dir: str


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """A request to fork a worker.

    Four descriptors are sent with the request: channel, control, stdout and stderr.

    Args:
        worker_id: Id of the worker, 12 hex digits.
        folder: Current folder of the program; "" for the scratch folder.
        scratch: Scratch folder of the program; "" if the program is not confined.
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
        is_shortage: True if the machine is out of a resource. A later request may then succeed.
    """

    text: str
    is_shortage: bool

    def encode(self) -> bytes:
        return (_SHORTAGE if self.is_shortage else _PERMANENT) + self.text.encode("utf-8", "replace")

    @classmethod
    def decode(cls, text: bytes) -> StartRefusal | None:
        """Decode a refusal. Return None if the text is another message."""
        mark = text[:1]
        if mark not in (_PERMANENT, _SHORTAGE):
            return None
        return cls(text[1:].decode("utf-8", "replace"), mark == _SHORTAGE)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """Exit status and resource usage of an ended worker, as reported by wait4(2).

    Args:
        wait_status: Exit status in the encoding of wait(2).
        peak_rss_kb: Peak resident memory, KiB: the maximum of the worker and of the children that the worker
            waited for.
        used: CPU time, context switches and page faults of the worker and of the children that the worker
            waited for.
    """

    wait_status: int
    peak_rss_kb: int
    used: Usage

    def encode(self) -> bytes:
        return json.dumps([self.wait_status, self.peak_rss_kb, *astuple(self.used)]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> WorkerReport:
        """Decode a report. Raises ValueError if the text is another message."""
        numbers: Any = json.loads(text)
        if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(f"expected the report of an ended worker as a list of numbers, got {text!r:.80}")
        status, peak, *used = numbers
        try:
            return cls(status, peak, Usage(*used))
        except TypeError as error:
            expected = len(fields(cls)) - 1 + len(fields(Usage))
            raise ValueError(
                f"expected {expected} numbers in the report of an ended worker, got {len(numbers)}"
            ) from error
