"""Many programs on one problem, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.config import allowed_cpu_count
from gigaexec.default_backend import default_loky_backend
from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.problems import CALL_STAGE, METRICS_STAGE, Problem, build_pipeline, load_context
from gigaexec.evaluation.programs import Program, SourceUnreadableError
from gigaexec.evaluation.record import ProgramEvaluation
from gigaexec.evaluation.stages import Pipeline
from gigaexec.evaluation.verdict import judge_no_program, judge_results, not_judged

# While one program's value travels to its validator, another's call is already in the queue, so that no
# worker waits. More than two for each worker would only hold memory.
_IN_FLIGHT_PER_WORKER = 2


async def evaluate_programs(
    problem: Problem,
    programs: Iterable[Program | Path],
    *,
    timeout_s: float,
    backend: ExecutorBackend | None = None,
    context_timeout_s: float | None = None,
    max_in_flight: int | None = None,
) -> AsyncGenerator[ProgramEvaluation, None]:
    """Evaluate programs on a problem and yield each evaluation when it is there, in no fixed order.

    The problem's context is built once, before the first program. A generator of a million programs is
    taken from as programs finish. Close the iterator (`contextlib.aclosing`) to stop early: it returns when
    every running call has been killed.

    Args:
        problem: What they are evaluated on.
        programs: Programs, or files that hold one each. A file is read when its turn comes; one whose
            bytes are no Python source is not valid, and one that cannot be read is not judged.
        timeout_s: Seconds that each call may run, unless the problem's pipeline.yaml says otherwise.
        backend: Where calls run; None is the default backend.
        context_timeout_s: Seconds that building the context may take; None is `timeout_s`.
        max_in_flight: How many programs are evaluated at once; None is two for each worker.

    Raises:
        ContextError: The context could not be built.
        ConfigurationError: A limit makes no sense, or the problem's pipeline cannot be made.
        InfrastructureError: gigaexec or the machine failed while the context was built. Later failures of
            that kind are in the evaluations, whose `was_judged` is false.
    """
    if backend is None:
        backend = default_loky_backend()
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
            return not_judged(path, str(error))
        except ConfigurationError as error:
            return judge_no_program(path, str(error), problem.metrics)
    results = await pipeline.run(program, backend=backend, initial=initial)
    decisive = pipeline.upstream(CALL_STAGE) | pipeline.upstream(METRICS_STAGE)
    return judge_results(program, path, results, problem.metrics, decisive=decisive)


def _in_flight_limit(max_in_flight: int | None, backend: ExecutorBackend) -> int:
    if max_in_flight is None:
        return _IN_FLIGHT_PER_WORKER * int(getattr(backend, "max_concurrency", allowed_cpu_count()))
    if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int) or max_in_flight < 1:
        raise ConfigurationError(f"max_in_flight must be a positive whole number, not {max_in_flight!r}")
    return max_in_flight
