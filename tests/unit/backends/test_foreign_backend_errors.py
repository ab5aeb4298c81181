"""Exceptions raised by a third-party backend do not count against the program."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gigaexec import GigaexecError, InfrastructureError, Outcome, OutcomeStatus, WorkerCall
from gigaexec.runner import run_call

CALL = WorkerCall("def f(): pass", "f")
FOREIGN = (
    ConnectionError("redis is gone"),
    OSError(24, "Too many open files"),
    MemoryError(),
    RuntimeError(),
)


class ExecutesOnly:
    def __init__(self, raised: BaseException) -> None:
        self.raised = raised

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        raise self.raised

    async def shutdown(self, *, wait: bool = False) -> None:
        pass


class Runs(ExecutesOnly):
    async def run(
        self, call: WorkerCall, *, deadline_s: float, queue_timeout_s: float | None = None
    ) -> Outcome:
        raise self.raised


@pytest.mark.parametrize("kind", [ExecutesOnly, Runs])
@pytest.mark.parametrize("raised", FOREIGN, ids=lambda error: type(error).__name__)
def test_r33_a_foreign_error_is_infrastructure_with_its_cause(
    kind: type[ExecutesOnly], raised: BaseException
) -> None:
    outcome = asyncio.run(run_call(CALL, deadline_s=1.0, backend=kind(raised)))
    assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert isinstance(outcome.error, InfrastructureError)
    assert outcome.error.__cause__ is raised
    assert str(outcome.error).startswith(f"{kind.__name__} failed: {type(raised).__name__}")


def test_r33_a_bare_error_of_our_tree_is_infrastructure_too() -> None:
    raised = GigaexecError("x")
    outcome = asyncio.run(run_call(CALL, deadline_s=1.0, backend=ExecutesOnly(raised)))
    assert (outcome.status, outcome.error) == (OutcomeStatus.INFRASTRUCTURE, raised)


@pytest.mark.parametrize("kind", [ExecutesOnly, Runs])
def test_r33_cancellation_passes_through(kind: type[ExecutesOnly]) -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_call(CALL, deadline_s=1.0, backend=kind(asyncio.CancelledError())))
