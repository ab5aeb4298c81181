"""Problem folders: the tasks that programs are evaluated on, and the verdict on a program's metrics.

This package needs the extra `stages`.
"""

# ruff: noqa: E402 - require_stages_extra() must run before the imports that need the extra

from gigaexec.evaluation.extras import require_stages_extra

require_stages_extra()

from gigaexec.evaluation.problems.context import load_context
from gigaexec.evaluation.problems.errors import ContextError, ProblemError
from gigaexec.evaluation.problems.metrics import MetricSpec, MetricsSpec, MetricsVerdict
from gigaexec.evaluation.problems.metrics_file import load_metrics_spec
from gigaexec.evaluation.problems.pipeline import CALL_STAGE, METRICS_STAGE, build_pipeline
from gigaexec.evaluation.problems.problem import Problem

__all__ = [
    "CALL_STAGE",
    "METRICS_STAGE",
    "ContextError",
    "MetricSpec",
    "MetricsSpec",
    "MetricsVerdict",
    "Problem",
    "ProblemError",
    "build_pipeline",
    "load_context",
    "load_metrics_spec",
]
