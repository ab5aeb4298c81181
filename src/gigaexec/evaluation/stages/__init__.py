"""Stages of the evaluation of a program, and the pipeline that runs the stages.

A stage returns a `ProgramStageResult`; it does not raise for a failure of the program. This package
needs the extra `stages`.
"""

# ruff: noqa: E402 - require_stages_extra() must run before the imports that need the extra

from gigaexec.evaluation.extras import require_stages_extra

require_stages_extra()

from gigaexec.evaluation.stages.executor import (
    CallProgramFunction,
    CallProgramFunctionWithFixedArgs,
    PythonCodeExecutor,
)
from gigaexec.evaluation.stages.fetch import FetchArtifact, FetchMetrics
from gigaexec.evaluation.stages.file_function import CallFileFunction, CallValidatorFunction
from gigaexec.evaluation.stages.models import (
    ArtifactOutput,
    MetricsOutput,
    RuntimeOutput,
    StageModel,
    ValidationOutput,
    ValueOutput,
)
from gigaexec.evaluation.stages.pipeline import Pipeline
from gigaexec.evaluation.stages.registry import (
    STAGE_REGISTRY,
    PipelineDescription,
    StageDescription,
    StageRegistry,
    register_stage,
)
from gigaexec.evaluation.stages.results import (
    ProgramStageResult,
    StageError,
    StageOutputError,
    StageState,
    first_failure,
)
from gigaexec.evaluation.stages.runtime_fitness import RuntimeFitnessStage
from gigaexec.evaluation.stages.stage import ComputedStage, Stage

__all__ = [
    "STAGE_REGISTRY",
    "ArtifactOutput",
    "CallFileFunction",
    "CallProgramFunction",
    "CallProgramFunctionWithFixedArgs",
    "CallValidatorFunction",
    "ComputedStage",
    "FetchArtifact",
    "FetchMetrics",
    "MetricsOutput",
    "Pipeline",
    "PipelineDescription",
    "ProgramStageResult",
    "PythonCodeExecutor",
    "RuntimeFitnessStage",
    "RuntimeOutput",
    "Stage",
    "StageDescription",
    "StageError",
    "StageModel",
    "StageOutputError",
    "StageRegistry",
    "StageState",
    "ValidationOutput",
    "ValueOutput",
    "first_failure",
    "register_stage",
]
