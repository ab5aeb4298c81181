"""Build the context of a problem, once for all programs."""

from __future__ import annotations

from typing import Any

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import WorkerCall
from gigaexec.errors import InfrastructureError, InvalidCallError
from gigaexec.evaluation.problems.errors import ContextError, ProblemError
from gigaexec.evaluation.problems.problem import Problem
from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import CallFileFunction, ValueOutput
from gigaexec.wire.arguments_out import encode_arguments


async def load_context(problem: Problem, *, backend: ExecutorBackend | None = None, timeout_s: float) -> Any:
    """Call `build_context` of the problem in a worker and return its value.

    Args:
        problem: A problem with a context.
        backend: The backend that runs the call; None is the default backend.
        timeout_s: Maximum run time of the call, seconds.

    Raises:
        ContextError: `build_context` failed, or its value cannot be pickled to be passed to programs. The
            message contains the reason.
        ProblemError: The problem has no context.py.
        InfrastructureError: gigaexec or the machine failed.
        CallCancelledError: The backend was shut down during the call.
        ConfigurationError: context.py, the backend or the timeout cannot be used.
    """
    if problem.context_path is None:
        raise ProblemError(f"no context.py in {problem.path}")
    stage = CallFileFunction(problem.context_path, python_path=problem.python_path, timeout=timeout_s)
    program = Program(code="", name=f"{problem.name} context")
    result = await stage.run(program, backend=backend, stage_name="context")
    if isinstance(result.output, ValueOutput):
        _require_picklable(result.output.value, problem)
        return result.output.value
    assert result.error is not None
    cause = result.outcome.error if result.outcome else None
    if result.is_inconclusive:
        raise cause or InfrastructureError(result.error.message)
    raise ContextError(
        f"{problem.context_path}: build_context failed: {result.error.message}\n{result.error.traceback}"
    ) from cause


def _require_picklable(value: Any, problem: Problem) -> None:
    # Not every value that was unpickled can be pickled again. Without this check, every program would fail.
    try:
        encode_arguments(WorkerCall(code="", function_name="entrypoint", args=[value]))
    except InvalidCallError as error:
        raise ContextError(
            f"{problem.context_path}: the value of build_context cannot be passed to programs: {error}"
        ) from error
