"""What a worker sends for its call, and what of it can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from gigaexec.calls import ConfinementStep, ErrorKind, WorkerResult
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import SandboxLevel
from gigaexec.wire.descriptors import OwnedDescriptor
from gigaexec.wire.frames import ProtocolError


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer, and the file that came with it."""

    result: WorkerResult
    file: OwnedDescriptor | None = None

    def close(self) -> None:
        """Let go of the file, of an answer that nobody wants."""
        if self.file is not None:
            self.file.close()


def require_credible_limit(result: WorkerResult, limits: Limits) -> None:
    """Raise `ProtocolError` for a limit that was hit as only a program can claim it."""
    hit = result.error.hit if result.error is not None else None
    if hit is None:
        return
    if getattr(limits, hit.name, None) != hit.limit:
        raise ProtocolError("a limit that the call does not have")
    if hit.measured is not None and hit.name != "result_bytes":
        raise ProtocolError("a measurement that only the driver makes")


def require_credible_failure(
    result: WorkerResult, level: SandboxLevel, steps: tuple[ConfinementStep, ...], *, is_confined: bool
) -> None:
    """Raise `ProtocolError` for a failure of the machine that comes too late to be one.

    Args:
        result: What was sent.
        level: How programs are confined.
        steps: Those of the sandbox that were reported before.
        is_confined: Whether the worker has said that the program is about to run.
    """
    kind = result.error.kind if result.error is not None else None
    if kind is ErrorKind.SETUP and is_confined:
        raise ProtocolError("limits that failed after they were applied")
    may_refuse = level is SandboxLevel.STRICT and any(not step.held for step in steps)
    may_fail = level is not SandboxLevel.OFF and not is_confined
    if kind is ErrorKind.SANDBOX and not (may_refuse or may_fail):
        raise ProtocolError("a sandbox that failed after it was entered")


def needs_file(result: WorkerResult) -> bool:
    """Whether its value lies in a file without a name."""
    return result.layout is not None and result.inline_value is None and result.spill_path is None
