"""The result of a stage."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from gigaexec.calls import Outcome
from gigaexec.errors import (
    CallError,
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
)
from gigaexec.evaluation.findings import findings_of
from gigaexec.untrusted.plain_values import type_name


class StageOutputError(CallError):
    """The called function returned a value that the stage cannot use. The message describes the value."""


class StageState(enum.StrEnum):
    """Final state of a stage."""

    COMPLETED = "completed"
    """The stage has an output."""

    FAILED = "failed"
    """The stage ran and has an error."""

    SKIPPED = "skipped"
    """The stage did not run, because a stage that it depends on did not complete."""


@dataclass(frozen=True, slots=True)
class StageError:
    """The error of a stage that failed or was skipped, as text.

    Args:
        type: Name of the error's class, such as "ExecRunnerError" or "SpillError"; "StageSkipped" if the
            stage did not run.
        message: The reason in one line.
        stage: Name of the stage that failed or was skipped.
        traceback: The whole error: the program's traceback, code context and captured output. "" if the stage
            was skipped.
        is_inconclusive: True if the error is no verdict on the program.
    """

    type: str
    message: str
    stage: str
    traceback: str = field(default="", repr=False)
    is_inconclusive: bool = False

    @classmethod
    def from_exception(cls, error: BaseException, *, stage: str) -> StageError:
        """Return the text form of an error that a call or a hook of the stage raised."""
        return cls(
            type=type_name(error),
            message=_one_line(error),
            stage=stage,
            traceback=_full_text(error),
            is_inconclusive=isinstance(error, GigaexecError) and error.is_inconclusive,
        )


@dataclass(frozen=True, slots=True)
class ProgramStageResult:
    """Result of one stage for one program.

    Args:
        stage: Name of the stage.
        status: Final state of the stage.
        output: The output model of the stage if it completed, else None.
        error: The error if the stage failed or was skipped, else None.
        outcome: The outcome of the stage's call, including the cost of the call; None if the stage made no
            call. If the outcome is ok but the stage failed, the stage could not use the returned value.
        duration_s: Seconds from the start to the end of the stage, including the wait for a worker.
    """

    stage: str
    status: StageState
    output: BaseModel | None = field(default=None, repr=False)
    error: StageError | None = None
    outcome: Outcome | None = None
    duration_s: float = 0.0

    @property
    def completed(self) -> bool:
        """True if the stage ran and did not fail."""
        return self.status is StageState.COMPLETED

    @property
    def is_inconclusive(self) -> bool:
        """True if the failure of the stage is no verdict on the program. Do not score the program then."""
        if self.error is not None and self.error.is_inconclusive:
            return True
        return self.outcome is not None and self.outcome.is_inconclusive


def skipped_result(stage: str, because_of: Iterable[str]) -> ProgramStageResult:
    """Return the result of a stage that does not run because the named stages did not complete."""
    names = ", ".join(repr(name) for name in because_of)
    error = StageError(type="StageSkipped", message=f"not run: {names} did not complete", stage=stage)
    return ProgramStageResult(stage=stage, status=StageState.SKIPPED, error=error)


def first_failure(results: Mapping[str, ProgramStageResult]) -> ProgramStageResult | None:
    """Return the first inconclusive failure of a pipeline run, else the first failure, else None.

    Inconclusive failures take precedence, so that a failure of the machine is never scored as a failure of
    the program.

    Args:
        results: The results that `Pipeline.run` returned.
    """
    failed = [result for result in results.values() if result.status is StageState.FAILED]
    return min(failed, key=lambda result: not result.is_inconclusive, default=None)


def _one_line(error: BaseException) -> str:
    if isinstance(error, GigaexecError):
        return error.summary
    if isinstance(error, ValidationError):
        return "; ".join(findings_of(error))
    text = str(error).strip()
    return text.splitlines()[0] if text else type_name(error)


def _full_text(error: BaseException) -> str:
    # The text of these errors contains the program's traceback. The traceback of the error object itself
    # shows only frames of the driver.
    if isinstance(error, ExecRunnerError | CallTimeoutError):
        return str(error)
    return "".join(traceback.format_exception(error))
