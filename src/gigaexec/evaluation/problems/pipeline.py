"""Make the pipeline that evaluates a program on a problem.

The default pipeline calls the program, passes the returned value to the validator, and fetches the metrics:

    call      CallProgramFunction     entrypoint(context) or entrypoint()
    validate  CallValidatorFunction   validate(context, payload) or validate(payload)
    metrics   FetchMetrics

A problem that needs other stages describes all its stages in pipeline.yaml. The defaults for options of these
stages: `folder` and `python_path` are the problem folder, `timeout` is the caller's timeout. `context` is an
initial value if the problem has a context.py. Two stages must exist: the stage `call` runs the program, and
the output of the stage `metrics` has a field `metrics`.
"""

from __future__ import annotations

from typing import Any

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems.errors import ProblemError
from gigaexec.evaluation.problems.files import read_yaml
from gigaexec.evaluation.problems.problem import METRICS_FILE, VALIDATOR_FILE, Problem
from gigaexec.evaluation.stages import Pipeline

CALL_STAGE = "call"
"""Name of the stage that runs the program. The outcome of this stage contains the cost of the program."""
METRICS_STAGE = "metrics"
"""Name of the stage whose output contains the metrics to judge."""
CONTEXT = "context"
"""Name of the pipeline's initial value that contains the context of the problem."""
ENTRYPOINT = "entrypoint"
"""Name of the function that the default pipeline calls in a program."""


def build_pipeline(problem: Problem, *, timeout_s: float) -> Pipeline:
    """Make the pipeline that evaluates programs on a problem.

    If the problem has a context, run the pipeline with `initial={"context": value}`; `load_context` returns
    this value. Otherwise, run the pipeline without `initial`.

    Args:
        problem: The problem.
        timeout_s: Maximum run time of each call, seconds, for stages to which pipeline.yaml gives no timeout.

    Raises:
        ProblemError: pipeline.yaml is wrong, or a file cannot be read.
        ConfigurationError: The timeout is not a finite number above 0, or a file of the default stages is
            wrong.
    """
    initial = [CONTEXT] if problem.context_path else []
    defaults = {"timeout": timeout_s, "folder": str(problem.path), "python_path": problem.python_path}
    if problem.pipeline_path is None:
        description = _default_description(has_context=bool(initial))
        return Pipeline.from_description(description, initial=initial, defaults=defaults)
    description = read_yaml(problem.pipeline_path)
    try:
        pipeline = Pipeline.from_description(description, initial=initial, defaults=defaults)
    except ConfigurationError as error:
        raise ProblemError(f"{problem.pipeline_path}: {error}") from error
    _require_fixed_stages(pipeline, problem)
    return pipeline


def _default_description(*, has_context: bool) -> dict[str, Any]:
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
            f"({METRICS_FILE} specifies those metrics)"
        )
    if findings:
        path = problem.pipeline_path
        raise ProblemError.listing(path, [f"{path}: {finding}" for finding in findings])
