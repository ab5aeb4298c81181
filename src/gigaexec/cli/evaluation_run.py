"""One run of `gigaexec evaluate`: results when they are there, the table at the end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gigaexec.cli.exit_codes import ExitCode, Interrupted
from gigaexec.cli.interrupt import run_interruptibly
from gigaexec.cli.pool import PoolOptions, pool
from gigaexec.cli.progress import EvaluationProgress
from gigaexec.cli.quantities import seconds_text
from gigaexec.cli.results_file import ResultsFile
from gigaexec.cli.table import ranking_table
from gigaexec.evaluation import ProgramEvaluation, evaluate_programs, rank
from gigaexec.evaluation.problems import Problem
from gigaexec.untrusted.log_text import one_line

_log = logging.getLogger(__name__)


class EvaluationRun:
    """Evaluates files on a problem and shows what came of it.

    Args:
        problem: What they are evaluated on.
        files: One program each.
        results: Where each evaluation is written, or None.
        prints_json: Print each evaluation in place of the table.
    """

    def __init__(
        self, problem: Problem, files: Sequence[Path], results: ResultsFile | None, *, prints_json: bool
    ) -> None:
        self._problem = problem
        self._files = files
        self._results = results
        self._prints_json = prints_json
        self._done: list[ProgramEvaluation] = []
        self._started_at_s = time.monotonic()

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with when all programs are done."""
        if not all(evaluation.was_judged for evaluation in self._done):
            return ExitCode.INFRASTRUCTURE
        return ExitCode.DONE if any(evaluation.is_valid for evaluation in self._done) else ExitCode.FAILED

    def evaluate(self, *, timeout_s: float, context_timeout_s: float | None, options: PoolOptions) -> None:
        """Evaluate all programs and show the results; no worker is left on return.

        Raises:
            Interrupted: A signal stopped it, or nobody reads stdout; what was done has been shown.
            ConfigurationError: The problem or the configuration cannot be used.
            InfrastructureError: The context could not be built, or a result could not be written.
        """
        try:
            run_interruptibly(self._evaluate_all(timeout_s, context_timeout_s, options))
        except Interrupted as interruption:
            if self._done:
                self._show_table()
            raise Interrupted(interruption.signal_number, self._progress_text()) from None
        self._show_table()
        print(self._summary(), file=sys.stderr)

    async def _evaluate_all(
        self, timeout_s: float, context_timeout_s: float | None, options: PoolOptions
    ) -> None:
        # Lines of JSON on a terminal show the progress themselves; a bar would run through them.
        is_bar_shown = not (self._prints_json and sys.stdout.isatty())
        async with pool(options) as backend:
            evaluations = evaluate_programs(
                self._problem,
                self._files,
                timeout_s=timeout_s,
                context_timeout_s=context_timeout_s,
                backend=backend,
            )
            with EvaluationProgress(len(self._files), is_shown=is_bar_shown) as progress:
                async with aclosing(evaluations):
                    async for evaluation in evaluations:
                        self._take(evaluation)
                        progress.advance(failed=not evaluation.is_valid)

    def _take(self, evaluation: ProgramEvaluation) -> None:
        line = self._line_of(evaluation)
        if self._results is not None:
            self._results.write(line)
        if self._prints_json:
            print(line, flush=True)
        # The table needs neither, and a hundred thousand tracebacks are a lot of memory.
        self._done.append(replace(evaluation, detail="", artifact=None))

    def _line_of(self, evaluation: ProgramEvaluation) -> str:
        try:
            return evaluation.to_json()
        except (TypeError, ValueError, RecursionError) as error:
            # Whatever a validator put beside the specified metrics, the other programs' run goes on.
            _log.warning(
                "%s: metrics beyond the specified ones are left out of its line: %s", evaluation.name, error
            )
            specs = self._problem.metrics.specs
            specified = {name: value for name, value in evaluation.metrics.items() if name in specs}
            return replace(evaluation, metrics=specified).to_json()

    def _show_table(self) -> None:
        if self._prints_json:
            return
        console = Console(highlight=False)
        ranking = rank(self._done, self._problem.metrics)
        width = console.width if console.is_terminal else None
        for line in ranking_table(ranking, self._problem.metrics, width=width):
            console.print(line, soft_wrap=True)

    def _summary(self) -> str:
        ranking = rank(self._done, self._problem.metrics)
        counts = [f"{len(ranking.valid)} valid", f"{len(ranking.invalid)} not valid"]
        if ranking.not_judged:
            counts.append(f"{len(ranking.not_judged)} not evaluated")
        took = seconds_text(time.monotonic() - self._started_at_s)
        noun = "program" if len(ranking) == 1 else "programs"
        return f"{len(ranking)} {noun} in {took}: {', '.join(counts)}{self._where()}"

    def _progress_text(self) -> str:
        return f": {len(self._done)} of {len(self._files)} programs were done{self._where()}"

    def _where(self) -> str:
        if self._results is None or not self._done:
            return ""
        return f"; results in {one_line(str(self._results.path))}"
