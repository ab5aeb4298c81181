"""Run `gigaexec evaluate`: report each result as soon as it is ready, and print the table at the end."""

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
from gigaexec.cli.pool import PoolOptions, open_pool
from gigaexec.cli.render.progress import EvaluationProgress
from gigaexec.cli.render.ranking import ranking_table
from gigaexec.cli.results_file import ResultsFile
from gigaexec.cli.short_texts import seconds_text
from gigaexec.errors import InfrastructureError
from gigaexec.evaluation import ProgramEvaluation, evaluate_programs, rank
from gigaexec.evaluation.problems import Problem
from gigaexec.untrusted.log_text import one_line

_log = logging.getLogger(__name__)


class EvaluationRun:
    """An evaluation of programs on a problem, with its results on the screen and in a file.

    Args:
        problem: The problem.
        files: The files of the programs; each file contains one program.
        results: The file to which each evaluation is written; None to write no file.
        prints_json: True to print each evaluation as a line of JSON. False to print the table.
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
        """The exit status of the command after all programs are done."""
        if not all(evaluation.was_judged for evaluation in self._done):
            return ExitCode.INFRASTRUCTURE
        return ExitCode.DONE if any(evaluation.is_valid for evaluation in self._done) else ExitCode.FAILED

    def evaluate(self, *, timeout_s: float, context_timeout_s: float | None, options: PoolOptions) -> None:
        """Evaluate all programs and show the results. All workers have ended on return.

        Args:
            timeout_s: Maximum run time of each call, seconds.
            context_timeout_s: Maximum time to build the problem's context, seconds; None is `timeout_s`.
            options: The options of the pool.

        Raises:
            Interrupted: A signal stopped the run, or the reader of stdout closed the pipe. The results so far
                have been shown.
            ConfigurationError: The problem or the configuration cannot be used.
            InfrastructureError: gigaexec or the machine failed while the context was built, or a result could
                not be written.
        """
        try:
            run_interruptibly(self._evaluate_all(timeout_s, context_timeout_s, options))
        except Interrupted as interruption:
            try:
                if self._done:
                    self._show_table()
            except InfrastructureError as error:  # after SIGHUP, the terminal is closed
                _log.warning("the table cannot be shown: %s", error)
            raise Interrupted(interruption.signal_number, self._progress_text()) from None
        self._show_table()
        print(self._summary(), file=sys.stderr)

    async def _evaluate_all(
        self, timeout_s: float, context_timeout_s: float | None, options: PoolOptions
    ) -> None:
        # Lines of JSON on a terminal already show the progress, and a bar would be mixed into these lines.
        is_bar_shown = not (self._prints_json and sys.stdout.isatty())
        async with open_pool(options) as backend:
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
                        self._record(evaluation)
                        progress.advance(failed=not evaluation.is_valid)

    def _record(self, evaluation: ProgramEvaluation) -> None:
        line = self._line_of(evaluation)
        if self._results is not None:
            self._results.write(line)
        if self._prints_json:
            print(line, flush=True)
        # The table needs neither detail nor artifact, which would take much memory for 100,000 programs.
        self._done.append(replace(evaluation, detail="", artifact=None))

    def _line_of(self, evaluation: ProgramEvaluation) -> str:
        try:
            return evaluation.to_json()
        except (TypeError, ValueError, RecursionError) as error:
            # A validator may return any object as an extra metric. If JSON cannot represent the object, the
            # evaluation of other programs must go on.
            _log.warning(
                "%s: the metrics that metrics.yaml does not specify are left out of the JSON, because JSON "
                "cannot represent them: %s",
                evaluation.name,
                error,
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
        return f"{len(ranking)} {noun} in {took}: {', '.join(counts)}{self._results_place()}"

    def _progress_text(self) -> str:
        return f": {len(self._done)} of {len(self._files)} programs were done{self._results_place()}"

    def _results_place(self) -> str:
        if self._results is None or not self._done:
            return ""
        return f"; results in {one_line(str(self._results.path))}"
