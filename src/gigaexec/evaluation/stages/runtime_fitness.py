"""The stage for problems in which the fastest correct program wins."""

# ruff: noqa: ARG002 - some parameters of hooks are used only in overrides

from __future__ import annotations

import dataclasses
import inspect
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gigaexec.calls import WorkerCall
from gigaexec.checks import require_count
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import run_time_probe
from gigaexec.evaluation.stages.executor import DEFAULT_TIMEOUT_S, PythonCodeExecutor, context_arguments
from gigaexec.evaluation.stages.models import ContextInputs, RuntimeOutput, StageModel
from gigaexec.evaluation.stages.registry import register_stage
from gigaexec.evaluation.stages.results import StageOutputError
from gigaexec.untrusted.plain_values import type_name

_PROBE_SOURCE = inspect.getsource(run_time_probe._gigaexec_time_runs)
_PROBE_NAME = run_time_probe._gigaexec_time_runs.__name__


@register_stage
class RuntimeFitnessStage(PythonCodeExecutor):
    """Time a function of the program: warm-up runs, then timed runs, all in one call.

    Input: `context` (optional). Outputs: `metrics`, `value` and `run_times_s`. The metrics are
    `execution_time_sec` (the median of the timed runs), `fitness` (the inverse of that median), `warmup_runs`
    and `timed_runs`. The clock is the worker's `time.perf_counter_ns`, read directly before and after the
    function. Compiling and importing the program, copying the arguments and a garbage collection before each
    run are not timed. Every run gets a fresh copy of the context.

    All runs share one module, so that warm-up runs have an effect (caches, just-in-time compilers). The
    timed runs of a program that caches its result are therefore short; to prevent that, use `warmup_runs=0,
    timed_runs=1`. Replacing functions of the module `time` has no effect on the measurement. But the program
    runs in the process that measures it, so it can tamper with the measurement by other means.

    Args:
        function_name: Name of the function to time.
        warmup_runs: Runs that are not timed, 0 or more.
        timed_runs: Runs that are timed, 1 or more.
        python_path: Folders from which the program can import, in this order.
        timeout: Maximum run time of all runs together, seconds.

    Raises:
        ConfigurationError: An argument has a wrong type or value.
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
        self.warmup_runs = require_count("warmup_runs", warmup_runs, least=0)
        self.timed_runs = require_count("timed_runs", timed_runs)

    def code_for(self, program: Program, inputs: Any) -> str:
        return f"{program.code}\n\n\n{_PROBE_SOURCE}"

    def arguments_for(self, program: Program, inputs: ContextInputs) -> tuple[list[Any], dict[str, Any]]:
        return [self.function_name, context_arguments(inputs), {}, self.warmup_runs, self.timed_runs], {}

    def build_call(self, program: Program, inputs: Any) -> WorkerCall:
        return dataclasses.replace(super().build_call(program, inputs), function_name=_PROBE_NAME)

    def parse_output(self, value: Any, inputs: Any) -> RuntimeOutput:
        # A program can change what the probe returns, so the exact types are checked first. Comparing or
        # iterating an instance of a program's class would run its code here.
        if type(value) is not tuple or len(value) != 2 or type(value[0]) is not list:
            raise StageOutputError(f"expected the times of {self.timed_runs} runs, got a {type_name(value)}")
        run_times_ns, last_value = value
        if len(run_times_ns) != self.timed_runs or any(type(each) is not int for each in run_times_ns):
            raise StageOutputError(
                f"expected {self.timed_runs} timed runs, each as an int, got {len(run_times_ns)} items"
            )
        # A duration is 0 ns if the clock did not tick. It counts as 1 ns, because the fitness must be finite.
        run_times_s = tuple(max(1, time_ns) / 1e9 for time_ns in run_times_ns)
        execution_time_s = statistics.median(run_times_s)
        metrics = {
            "execution_time_sec": execution_time_s,
            "fitness": 1.0 / execution_time_s,
            "warmup_runs": float(self.warmup_runs),
            "timed_runs": float(self.timed_runs),
        }
        return RuntimeOutput(metrics=metrics, value=last_value, run_times_s=run_times_s)
