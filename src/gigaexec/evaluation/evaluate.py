"""Evaluate many programs on one problem, a limited number of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.checks import require_count
from gigaexec.config import allowed_cpu_count
from gigaexec.default_backend import resolve_backend
from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems import CALL_STAGE, METRICS_STAGE, Problem, build_pipeline, load_context
from gigaexec.evaluation.programs import Program, SourceUnreadableError
from gigaexec.evaluation.record import ProgramEvaluation
from gigaexec.evaluation.stages import Pipeline
from gigaexec.evaluation.verdict import invalid_file, judge_results, unreadable_file

# With two programs per worker, no worker is idle: the call of one program is queued while the value of the
# other is passed to the validator. A larger number would only use more memory.
_IN_FLIGHT_PER_WORKER = 2


async def evaluate_programs(
    problem: Problem,
    programs: Iterable[Program | Path],
    *,
    timeout_s: float,
    backend: ExecutorBackend | str | None = None,
    context_timeout_s: float | None = None,
    max_in_flight: int | None = None,
) -> AsyncGenerator[ProgramEvaluation, None]:
    """Evaluate programs on a problem and yield each evaluation as soon as it is ready, in any order.

    The context of the problem is built once, before the first program. `programs` may be a generator of any
    length: the next program is taken when an earlier program finishes. To stop early, close the iterator
    (`contextlib.aclosing`); closing returns when every running call has been killed.

    Args:
        problem: The problem.
        programs: Programs, or files that contain one program each. A file is read just before the program is
            evaluated. A file that is not Python source text counts as an invalid program. If a file cannot be
            read, there is no verdict on the program.
        timeout_s: Maximum run time of each call, seconds, for stages to which pipeline.yaml gives no timeout.
        backend: A backend, or the name or URL of one; such a backend is created on first use with
            `WorkerConfig.from_env()` and shared in this process. None is the default backend.
        context_timeout_s: Maximum run time of `build_context`, seconds; None is `timeout_s`.
        max_in_flight: Maximum number of programs that are evaluated at the same time; None is two per worker.

    Yields:
        One evaluation per program.

    Raises:
        ContextError: The context could not be built.
        CallCancelledError: The backend was shut down while the context was built.
        ConfigurationError: An argument has a wrong value, or the pipeline of the problem cannot be created.
        InfrastructureError: gigaexec or the machine failed while the context was built. If that happens
            later, nothing is raised: the evaluation of the affected program has `was_judged` False.
    """
    backend = resolve_backend(backend)
    limit = _in_flight_limit(max_in_flight, backend)
    pipeline = build_pipeline(problem, timeout_s=timeout_s)
    initial = {}
    if problem.context_path is not None:
        context_limit_s = timeout_s if context_timeout_s is None else context_timeout_s
        initial["context"] = await load_context(problem, backend=backend, timeout_s=context_limit_s)
    waiting = iter(programs)
    tasks: set[asyncio.Task[ProgramEvaluation]] = set()
    try:
        while True:
            while len(tasks) < limit and (program := next(waiting, None)) is not None:
                evaluation = _evaluate(program, problem, pipeline, initial, backend)
                tasks.add(asyncio.create_task(evaluation))
            if not tasks:
                return
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                tasks.discard(task)
                yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _evaluate(
    program: Program | Path,
    problem: Problem,
    pipeline: Pipeline,
    initial: dict[str, Any],
    backend: ExecutorBackend,
) -> ProgramEvaluation:
    path = None
    if isinstance(program, Path):
        path = program
        try:
            program = Program.from_file(path)
        except SourceUnreadableError as error:
            return unreadable_file(path, str(error))
        except ConfigurationError as error:
            return invalid_file(path, str(error), problem.metrics)
    results = await pipeline.run(program, backend=backend, initial=initial)
    decisive = pipeline.upstream(CALL_STAGE) | pipeline.upstream(METRICS_STAGE)
    return judge_results(program, path, results, problem.metrics, decisive=decisive)


def _in_flight_limit(max_in_flight: int | None, backend: ExecutorBackend) -> int:
    if max_in_flight is None:
        return _IN_FLIGHT_PER_WORKER * int(getattr(backend, "max_concurrency", allowed_cpu_count()))
    return require_count("max_in_flight", max_in_flight)
