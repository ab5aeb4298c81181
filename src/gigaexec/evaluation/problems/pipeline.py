"""The pipeline that evaluates a program on a problem.

The usual one calls the program, hands what it returned to the validator, and takes the metrics:

    call      CallProgramFunction     entrypoint(context) or entrypoint()
    validate  CallValidatorFunction   validate(context, payload) or validate(payload)
    metrics   FetchMetrics

A problem that needs something else describes all its stages in pipeline.yaml. There, stages get the folder
as `folder` and `python_path` and the caller's timeout unless they set their own; `context` is an initial
value if the problem has a context.py; and two names are fixed: `call` is the stage that runs the program,
`metrics` one whose output has a field `metrics`.
"""

from __future__ import annotations

from typing import Any

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.problem import METRICS_FILE, VALIDATOR_FILE, Problem
from gigaexec.evaluation.problems.yaml_file import read_yaml
from gigaexec.evaluation.stages import Pipeline

CALL_STAGE = "call"
"""The stage that runs the program: its outcome is the program's cost."""
METRICS_STAGE = "metrics"
"""The stage whose output holds the metrics to judge."""
CONTEXT = "context"
"""The initial value that holds the context."""
ENTRYPOINT = "entrypoint"


def build_pipeline(problem: Problem, *, timeout_s: float) -> Pipeline:
    """Make the pipeline that evaluates programs on a problem.

    Run it with `initial={"context": value}` where the problem has a context (`load_context` gives the
    value) and without `initial` where it has none: `pipeline.initial` tells.

    Args:
        problem: The problem.
        timeout_s: Seconds that each call may run, unless the problem's pipeline.yaml says otherwise.

    Raises:
        ProblemError: pipeline.yaml is wrong, or a file cannot be read.
        ConfigurationError: The timeout makes no sense.
    """
    initial = [CONTEXT] if problem.context_path else []
    defaults = {"timeout": timeout_s, "folder": str(problem.path), "python_path": problem.python_path}
    if problem.pipeline_path is None:
        description = _usual_description(has_context=bool(initial))
        return Pipeline.from_description(description, initial=initial, defaults=defaults)
    description = read_yaml(problem.pipeline_path)
    try:
        pipeline = Pipeline.from_description(description, initial=initial, defaults=defaults)
    except ConfigurationError as error:
        raise ProblemError(f"{problem.pipeline_path}: {error}") from error
    _require_fixed_stages(pipeline, problem)
    return pipeline


def _usual_description(*, has_context: bool) -> dict[str, Any]:
    context = {CONTEXT: CONTEXT} if has_context else {}
    return {
        "stages": {
            CALL_STAGE: {
                "stage": "CallProgramFunction",
                "options": {"function_name": ENTRYPOINT},
                "inputs": context,
            },
            "validate": {
                "stage": "CallValidatorFunction",
                "options": {"path": VALIDATOR_FILE},
                "inputs": {"payload": f"{CALL_STAGE}.value", **context},
            },
            METRICS_STAGE: {"stage": "FetchMetrics", "inputs": {"validation": "validate"}},
        }
    }


def _require_fixed_stages(pipeline: Pipeline, problem: Problem) -> None:
    findings = []
    if CALL_STAGE not in pipeline.stages:
        findings.append(f"stages: expected a stage named {CALL_STAGE}, which runs the program")
    metrics = pipeline.stages.get(METRICS_STAGE)
    if metrics is None or "metrics" not in metrics.output_model.model_fields:
        findings.append(
            f"stages: expected a stage named {METRICS_STAGE}, whose output has the field metrics "
            f"(those that {METRICS_FILE} specifies)"
        )
    if findings:
        path = problem.pipeline_path
        raise ProblemError.listing(path, [f"{path}: {finding}" for finding in findings])
