"""Checks that the messages of a worker are credible.

A report that the worker sends before its program runs is credible. The program can forge reports on the
channel, but only later. So the first report of each kind is believed, and a second one is refused.
"""

from __future__ import annotations

from gigaexec.calls import ConfinementStep, ErrorKind, WorkerResult
from gigaexec.limits import Limits
from gigaexec.pool.supervision.running_call import RunningCall
from gigaexec.sandbox.policy import SandboxLevel
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.messages import Confined, Ready


class WorkerReports:
    """The reports of one worker so far. Each method raises `ProtocolError` if a message is not credible.

    Args:
        level: The sandbox level of the pool.
    """

    def __init__(self, level: SandboxLevel) -> None:
        self._level = level
        self._is_confined = False
        self.is_ready = False
        """True once the worker has reported that it is ready for its first call."""
        self.steps: tuple[ConfinementStep, ...] = ()
        """The sandbox steps in the worker's latest report."""

    def add(self, report: Ready | Confined) -> None:
        """Record a report that the worker is ready or confined. Only one report of each kind is accepted."""
        if isinstance(report, Ready):
            self._require_first(report, self.is_ready)
            self.is_ready = True
        else:
            self._require_first(report, self._is_confined)
            self._is_confined = True
        self.steps = report.steps

    def check(self, result: WorkerResult, call: RunningCall | None) -> None:
        """Refuse a result with an impossible limit hit or failure, or a second result for the same call."""
        require_credible_limit(result, call.job.limits if call is not None else Limits())
        require_credible_failure(result, self._level, self.steps, is_confined=self._is_confined)
        if call is None or call.supervised is None:
            return
        if call.answer is not None:
            raise ProtocolError("expected one result per call, got a second")
        if result.spill_path is not None:
            raise ProtocolError("expected a result sent inline or as a descriptor, got a path (spill_path)")

    @staticmethod
    def _require_first(report: Ready | Confined, is_repeated: bool) -> None:
        if is_repeated:
            raise ProtocolError(f"expected one {type(report).__name__} message per worker, got a second")


def require_credible_limit(result: WorkerResult, limits: Limits) -> None:
    """Raise `ProtocolError` if the result reports a limit hit that no honest worker reports."""
    hit = result.error.hit if result.error is not None else None
    if hit is None:
        return
    if getattr(limits, hit.name, None) != hit.limit:
        raise ProtocolError(
            f"the result reports that the limit {hit.name!r:.40} = {hit.limit} was hit, but the call has no "
            "such limit"
        )
    if hit.measured is not None and hit.name != "result_bytes":
        raise ProtocolError(
            f"the result reports an amount measured for {hit.name}; workers measure only result_bytes"
        )


def require_credible_failure(
    result: WorkerResult, level: SandboxLevel, steps: tuple[ConfinementStep, ...], *, is_confined: bool
) -> None:
    """Raise `ProtocolError` if the result reports an impossible failure of the limits or the sandbox.

    Args:
        result: The worker's result.
        level: The sandbox level of the pool.
        steps: The sandbox steps that the worker reported earlier.
        is_confined: True if the worker has reported that the program is about to run.
    """
    kind = result.error.kind if result.error is not None else None
    if kind is ErrorKind.SETUP and is_confined:
        raise ProtocolError("the result reports that setting limits failed, but they were already set")
    may_refuse = level is SandboxLevel.STRICT and any(not step.held for step in steps)
    may_fail = level is not SandboxLevel.OFF and not is_confined
    if kind is ErrorKind.SANDBOX and not (may_refuse or may_fail):
        state = "off" if level is SandboxLevel.OFF else "already active"
        raise ProtocolError(f"the result reports a failed sandbox, but the sandbox is {state}")


def needs_file(result: WorkerResult) -> bool:
    """True if the result's value is in an unnamed file, whose descriptor is sent with the result."""
    return result.layout is not None and result.inline_value is None and result.spill_path is None
