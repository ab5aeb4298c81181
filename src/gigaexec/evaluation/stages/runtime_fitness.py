"""The stage for problems in which the fastest program wins."""

# ruff: noqa: ARG002 - a hook is handed all that any override may need

from __future__ import annotations

import dataclasses
import inspect
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.calls import WorkerCall
from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import run_time_probe
from gigaexec.evaluation.stages.errors import StageOutputError
from gigaexec.evaluation.stages.executor import DEFAULT_TIMEOUT_S, PythonCodeExecutor
from gigaexec.evaluation.stages.models import ContextInputs, RuntimeOutput, StageModel
from gigaexec.evaluation.stages.program_function import context_arguments
from gigaexec.evaluation.stages.registry import register_stage

_PROBE_SOURCE = inspect.getsource(run_time_probe._gigaexec_time_runs)
_PROBE_NAME = run_time_probe._gigaexec_time_runs.__name__


@register_stage
class RuntimeFitnessStage(PythonCodeExecutor):
    """Times a function of the program: some runs to warm up, then the timed ones, all in one call.

    Takes `context` (optional), gives `metrics`, `value` and `run_times_s`. The metrics are
    `execution_time_sec` (the median of the timed runs), `fitness` (its inverse), `warmup_runs` and
    `timed_runs`. The clock is the worker's `time.perf_counter_ns` around the function alone: compiling and
    importing the program, copying the arguments and a garbage collection before each run are not counted.
    Every run gets a fresh copy of the context.

    All runs share one module, so that a warm-up warms up (caches, just-in-time compilers). A program that
    remembers its answers is fast for that reason: where that matters, use `warmup_runs=0, timed_runs=1`.
    Replacing the functions of the module `time` gains a program nothing, but it runs in the process that
    times it, and one that goes out of its way can lie.

    Args:
        function_name: The function to time.
        warmup_runs: Runs that are not timed, 0 or more.
        timed_runs: Runs that are timed, 1 or more.
        python_path: Folders from which the program can import, in this order.
        timeout: Seconds that all runs together may take.

    Raises:
        ConfigurationError: An argument makes no sense.
    """

    inputs_model: ClassVar[type[StageModel]] = ContextInputs
    output_model: ClassVar[type[StageModel]] = RuntimeOutput

    def __init__(
        self,
        *,
        function_name: str = "run_code",
        warmup_runs: int = 1,
        timed_runs: int = 5,
        python_path: Sequence[str | Path] = (),
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(function_name=function_name, python_path=python_path, timeout=timeout)
        self.warmup_runs = _count("warmup_runs", warmup_runs, at_least=0)
        self.timed_runs = _count("timed_runs", timed_runs, at_least=1)

    def code_for(self, program: Program, inputs: Any) -> str:
        return f"{program.code}\n\n\n{_PROBE_SOURCE}"

    def arguments_for(self, program: Program, inputs: ContextInputs) -> tuple[list[Any], dict[str, Any]]:
        return [self.function_name, context_arguments(inputs), {}, self.warmup_runs, self.timed_runs], {}

    def build_call(self, program: Program, inputs: Any) -> WorkerCall:
        return dataclasses.replace(super().build_call(program, inputs), function_name=_PROBE_NAME)

    def parse_output(self, value: Any, inputs: Any) -> RuntimeOutput:
        run_times_ns, last_value = value
        if len(run_times_ns) != self.timed_runs:
            raise StageOutputError(f"{len(run_times_ns)} timed runs were reported, not {self.timed_runs}")
        # A clock that does not tick during a run must not make the fitness infinite.
        run_times_s = tuple(max(1, time_ns) / 1e9 for time_ns in run_times_ns)
        execution_time_s = statistics.median(run_times_s)
        metrics = {
            "execution_time_sec": execution_time_s,
            "fitness": 1.0 / execution_time_s,
            "warmup_runs": float(self.warmup_runs),
            "timed_runs": float(self.timed_runs),
        }
        return RuntimeOutput(metrics=metrics, value=last_value, run_times_s=run_times_s)


def _count(name: str, value: int, *, at_least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ConfigurationError(f"{name} must be a whole number, at least {at_least}, not {value!r}")
    return value
