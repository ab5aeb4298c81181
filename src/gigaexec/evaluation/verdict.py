"""Make the evaluation of a program from the results of the stages."""

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
    """Return the evaluation of a program from one run of the problem's pipeline.

    Args:
        program: The program.
        path: The file that the program came from, or None.
        results: Stage name -> result, for every stage.
        metrics: The metrics of the problem.
        decisive: Names of the stages whose failure makes the program invalid. Failures of other stages are
            reported as `side_failures`.
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


def unreadable_file(path: Path, reason: str) -> ProgramEvaluation:
    """Return the evaluation for a file that could not be read. There is no verdict on the program."""
    return ProgramEvaluation(
        name=path.stem, program_id="", path=path, status=OutcomeStatus.INFRASTRUCTURE, reason=reason
    )


def invalid_file(path: Path, reason: str, metrics: MetricsSpec) -> ProgramEvaluation:
    """Return the evaluation for a file that is not Python source text. The program counts as invalid."""
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
    # After the call of a stage succeeded, a hook of the stage can still fail, for example on a full disk.
    return OutcomeStatus.INFRASTRUCTURE if failure.is_inconclusive and status is OutcomeStatus.OK else status


def _measured(results: Mapping[str, ProgramStageResult]) -> Mapping[str, Any]:
    # pipeline.yaml may use any class for this stage; build_pipeline() checked that the output has `metrics`.
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
