"""The checks that a worker's messages must pass to be believed.

What a worker reports before its program runs is credible. The program can write the same reports into the
channel, but only later.
"""

from __future__ import annotations

from gigaexec.calls import ConfinementStep, ErrorKind, WorkerResult
from gigaexec.limits import Limits
from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.sandbox.policy import SandboxLevel
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.messages import Confined, Ready


class WorkerReports:
    """The reports of one worker so far. The methods raise `ProtocolError` for a message that is not credible.

    Args:
        level: The sandbox level of the pool.
    """

    def __init__(self, level: SandboxLevel) -> None:
        self._level = level
        self._is_confined = False
        self.is_ready = False
        """True once the worker has reported ready for its first call."""
        self.steps: tuple[ConfinementStep, ...] = ()
        """The steps of the sandbox that the worker has reported."""

    def add(self, report: Ready | Confined) -> None:
        """Record a report on the worker's start or sandbox."""
        if isinstance(report, Ready):
            self._require_first(report, self.is_ready)
            self.is_ready = True
        else:
            self._require_first(report, self._is_confined)
            self._is_confined = True
        self.steps = report.steps

    def check(self, result: WorkerResult, call: RunningCall | None) -> None:
        """Check a result of the running call."""
        require_credible_limit(result, call.job.limits if call is not None else Limits())
        require_credible_failure(result, self._level, self.steps, is_confined=self._is_confined)
        if call is None or call.supervised is None:
            return
        if call.answer is not None or result.spill_path is not None:
            raise ProtocolError("a second result, or one in a file with a name")

    @staticmethod
    def _require_first(report: Ready | Confined, is_repeated: bool) -> None:
        if is_repeated:
            raise ProtocolError(f"a second {type(report).__name__} message")


def require_credible_limit(result: WorkerResult, limits: Limits) -> None:
    """Raise `ProtocolError` if the result reports a limit hit that no honest worker reports."""
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
    """Raise `ProtocolError` if the result reports a failed setup after the setup was reported complete.

    Args:
        result: The worker's result.
        level: The sandbox level of the pool.
        steps: The steps of the sandbox that were reported before.
        is_confined: The worker has reported that the program is about to run.
    """
    kind = result.error.kind if result.error is not None else None
    if kind is ErrorKind.SETUP and is_confined:
        raise ProtocolError("the worker reported that limits failed after they were applied")
    may_refuse = level is SandboxLevel.STRICT and any(not step.held for step in steps)
    may_fail = level is not SandboxLevel.OFF and not is_confined
    if kind is ErrorKind.SANDBOX and not (may_refuse or may_fail):
        raise ProtocolError("a sandbox that failed after it was entered")


def needs_file(result: WorkerResult) -> bool:
    """True if the result's value is in a file without a name, whose descriptor comes with the result."""
    return result.layout is not None and result.inline_value is None and result.spill_path is None
