"""What a stage answers with."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from pydantic import BaseModel, ValidationError

from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.errors import (
    CallCancelledError,
    CallError,
    CallTimeoutError,
    ConfigurationError,
    ExecRunnerError,
    GigaexecError,
    InfrastructureError,
    InvalidCallError,
)
from gigaexec.evaluation.stages.findings import findings_of


class StageState(enum.StrEnum):
    """How a stage ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not run, because a stage that it depends on did not complete."""


@dataclass(frozen=True, slots=True)
class StageError:
    """Why a stage did not complete, as text.

    Args:
        type: Name of the error's class: "ExecRunnerError", "CallTimeoutError", "SpillError" and so on.
        message: One line.
        stage: Name of the stage that failed or was skipped.
        traceback: Everything known: the program's traceback, code context and captured output.
        is_inconclusive: Whether the error says nothing about the program.
    """

    type: str
    message: str
    stage: str
    traceback: str = ""
    is_inconclusive: bool = False

    @classmethod
    def from_exception(cls, error: BaseException, *, stage: str) -> StageError:
        """Describe an error that a call or a hook of a stage raised."""
        return cls(
            type=type(error).__name__,
            message=_one_line(error),
            stage=stage,
            traceback=_full_text(error),
            is_inconclusive=says_nothing(error),
        )


@dataclass(frozen=True, slots=True)
class ProgramStageResult:
    """How one stage ended for one program. Never an exception.

    Args:
        stage: Name of the stage.
        status: How it ended.
        output: The stage's output model when it completed, else None.
        error: Why it did not complete, else None.
        outcome: How its call ended and what that cost; None for a stage that calls nothing. It can be ok
            while the stage failed: then the function returned something that the stage cannot use.
        duration_s: Seconds from the stage's start to its end, waiting for a worker included.
    """

    stage: str
    status: StageState
    output: BaseModel | None = None
    error: StageError | None = None
    outcome: Outcome | None = None
    duration_s: float = 0.0

    @property
    def completed(self) -> bool:
        return self.status is StageState.COMPLETED

    @property
    def is_inconclusive(self) -> bool:
        """Whether the stage failed for a reason that says nothing about the program: do not score it."""
        if self.error is not None and self.error.is_inconclusive:
            return True
        return self.outcome is not None and self.outcome.status in (
            OutcomeStatus.INFRASTRUCTURE,
            OutcomeStatus.CANCELLED,
        )


def says_nothing(error: BaseException) -> TypeGuard[GigaexecError]:
    """Whether an error is not the program's fault. An invalid call is: a value could not be pickled again."""
    if isinstance(error, InvalidCallError):
        return False
    return isinstance(error, InfrastructureError | ConfigurationError | CallCancelledError)


def skipped_result(stage: str, because_of: Iterable[str]) -> ProgramStageResult:
    """The result of a stage that is not run because the named stages did not complete."""
    names = ", ".join(repr(name) for name in because_of)
    error = StageError(type="StageSkipped", message=f"not run: {names} did not complete", stage=stage)
    return ProgramStageResult(stage=stage, status=StageState.SKIPPED, error=error)


def first_failure(results: Mapping[str, ProgramStageResult]) -> ProgramStageResult | None:
    """The failed result that explains a run of a pipeline, or None if nothing failed.

    An inconclusive failure comes before any other: where the machine failed, nothing is held against
    the program. Otherwise the first in the order of the pipeline.
    """
    failed = [result for result in results.values() if result.status is StageState.FAILED]
    return min(failed, key=lambda result: not result.is_inconclusive, default=None)


def _one_line(error: BaseException) -> str:
    if isinstance(error, CallError):
        return error.summary
    if isinstance(error, ValidationError):
        return "; ".join(findings_of(error))
    text: Any = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _full_text(error: BaseException) -> str:
    if isinstance(error, ExecRunnerError | CallTimeoutError):
        return str(error)
    return "".join(traceback.format_exception(error))
