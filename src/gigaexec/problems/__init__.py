"""Problem folders: what programs are evaluated on, and how their metrics are judged.

Needs the extra `stages`.
"""

# ruff: noqa: E402 - the check comes before the imports that it guards

from gigaexec.stages.extras import require_stages_extra

require_stages_extra()

from gigaexec.problems.context import load_context
from gigaexec.problems.errors import ContextError, ProblemError
from gigaexec.problems.metrics import MetricSpec, MetricsSpec, MetricsVerdict
from gigaexec.problems.metrics_file import load_metrics_spec
from gigaexec.problems.pipeline import CALL_STAGE, METRICS_STAGE, build_pipeline
from gigaexec.problems.problem import Problem

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
