"""From the results of a problem's stages to what is known about the program."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.evaluation.problems import CALL_STAGE, METRICS_STAGE, MetricsSpec
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.record import ProgramEvaluation
from gigaexec.evaluation.stages import ProgramStageResult, StageState, ValidationOutput, first_failure


def judge_results(
    program: Program,
    path: Path | None,
    results: Mapping[str, ProgramStageResult],
    metrics: MetricsSpec,
    *,
    decisive: Collection[str],
) -> ProgramEvaluation:
    """Judge one run of a problem's pipeline.

    Args:
        program: What was run.
        path: The file that it came from, or None.
        results: The result of every stage by name.
        metrics: The metrics of the problem.
        decisive: Names of the stages whose failure makes the program not valid. A failure of any other is
            reported beside the verdict.
    """
    about = {
        "name": program.name,
        "program_id": program.id,
        "path": path,
        "side_failures": _side_failures(results, decisive),
        **_cost(results),
    }
    failure = first_failure({name: result for name, result in results.items() if name in decisive})
    if failure is None:
        verdict = metrics.judge(_measured(results))
        return ProgramEvaluation(
            **about,
            status=OutcomeStatus.OK,
            is_valid=verdict.is_valid,
            metrics=verdict.values,
            out_of_bounds=verdict.out_of_bounds,
            reason=verdict.reason,
            artifact=_artifact(results),
        )
    assert failure.error is not None
    reason = failure.error.message
    return ProgramEvaluation(
        **about,
        status=_status(failure),
        metrics={} if failure.is_inconclusive else metrics.invalid(reason).values,
        reason=reason if failure.stage == CALL_STAGE else f"{failure.stage}: {reason}",
        detail=failure.error.traceback,
        failed_stage=failure.stage,
    )


def not_judged(path: Path, reason: str) -> ProgramEvaluation:
    """Say that a file could not be read: that is the machine's failure, or somebody removed it."""
    return ProgramEvaluation(
        name=path.stem, program_id="", path=path, status=OutcomeStatus.INFRASTRUCTURE, reason=reason
    )


def judge_no_program(path: Path, reason: str, metrics: MetricsSpec) -> ProgramEvaluation:
    """Judge a file that holds no program: it is not valid, like one with a syntax error."""
    return ProgramEvaluation(
        name=path.stem,
        program_id="",
        path=path,
        status=OutcomeStatus.ERROR,
        metrics=metrics.invalid(reason).values,
        reason=reason,
    )


def _side_failures(results: Mapping[str, ProgramStageResult], decisive: Collection[str]) -> dict[str, str]:
    return {
        name: result.error.message
        for name, result in results.items()
        if name not in decisive and result.status is StageState.FAILED and result.error is not None
    }


def _status(failure: ProgramStageResult) -> OutcomeStatus:
    status = failure.outcome.status if failure.outcome else OutcomeStatus.ERROR
    # A hook can fail for want of a machine after its call succeeded.
    return OutcomeStatus.INFRASTRUCTURE if failure.is_inconclusive and status is OutcomeStatus.OK else status


def _measured(results: Mapping[str, ProgramStageResult]) -> Mapping[str, Any]:
    # The stage's class is the problem's choice; that its output has metrics was checked with the pipeline.
    output: Any = results[METRICS_STAGE].output
    metrics: Mapping[str, Any] = output.metrics
    return metrics


def _artifact(results: Mapping[str, ProgramStageResult]) -> Any:
    outputs = (result.output for result in results.values())
    return next((output.artifact for output in outputs if isinstance(output, ValidationOutput)), None)


def _cost(results: Mapping[str, ProgramStageResult]) -> dict[str, Any]:
    outcome = results[CALL_STAGE].outcome
    if outcome is None:
        return {}
    clocks = {
        "queue_time_s": outcome.queue_time_s,
        "start_time_s": outcome.start_time_s,
        "run_time_s": outcome.run_time_s,
    }
    return clocks | _measured_cost(outcome)


def _measured_cost(outcome: Outcome) -> dict[str, Any]:
    spent = outcome.metrics
    if spent is None:
        return {}
    return {
        "wall_time_s": spent.wall_time_s,
        "cpu_time_s": spent.user_time_s + spent.sys_time_s,
        "peak_rss_kb": spent.peak_rss_kb,
    }
