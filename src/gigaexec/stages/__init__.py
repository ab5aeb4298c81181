"""Stages, the steps of evaluating a program, and the pipeline that runs them.

A stage answers with a `ProgramStageResult` and never raises for a program's failure. Needs the extra
`stages`.
"""

from gigaexec.stages.extras import require_stages_extra

require_stages_extra()

from gigaexec.stages.description import PipelineDescription, StageDescription  # noqa: E402
from gigaexec.stages.errors import StageOutputError  # noqa: E402
from gigaexec.stages.executor import PythonCodeExecutor  # noqa: E402
from gigaexec.stages.fetch import FetchArtifact, FetchMetrics  # noqa: E402
from gigaexec.stages.file_function import CallFileFunction, CallValidatorFunction  # noqa: E402
from gigaexec.stages.models import (  # noqa: E402
    ArtifactOutput,
    MetricsOutput,
    RuntimeOutput,
    StageModel,
    ValidationOutput,
    ValueOutput,
)
from gigaexec.stages.pipeline import Pipeline  # noqa: E402
from gigaexec.stages.program_function import (  # noqa: E402
    CallProgramFunction,
    CallProgramFunctionWithFixedArgs,
)
from gigaexec.stages.registry import STAGE_REGISTRY, StageRegistry, register_stage  # noqa: E402
from gigaexec.stages.results import (  # noqa: E402
    ProgramStageResult,
    StageError,
    StageState,
    first_failure,
)
from gigaexec.stages.runtime_fitness import RuntimeFitnessStage  # noqa: E402
from gigaexec.stages.stage import ComputedStage, Stage  # noqa: E402

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
