"""The progress bar of `gigaexec evaluate`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class EvaluationProgress:
    """A progress bar on stderr: programs done and failed, rate, time elapsed and left.

    The bar is shown while this context manager is entered, and erased on exit. Nothing is shown if stderr is
    not a terminal.

    Args:
        total: Number of programs.
        is_shown: False to show nothing, even if stderr is a terminal.
    """

    def __init__(self, total: int, *, is_shown: bool) -> None:
        console = Console(stderr=True)
        # redirect_stderr, so that warnings are printed above the bar. Not redirect_stdout, because rich would
        # print the results to stderr.
        self._progress = Progress(
            TextColumn("evaluating"),
            BarColumn(bar_width=_bar_width(console)),
            MofNCompleteColumn(),
            _FailedColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
            disable=not (is_shown and console.is_terminal),
        )
        self._failed = 0
        self._task = self._progress.add_task("", total=total, failed=0)

    def advance(self, *, failed: bool) -> None:
        """Count one program as done."""
        self._failed += failed
        self._progress.update(self._task, advance=1, failed=self._failed)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def _bar_width(console: Console) -> int:
    # Leave room at the end of the line, where the terminal echoes ^C. On a full line the echo would wrap, and
    # the bar could not be erased.
    return max(10, min(40, console.width - 70))


class _FailedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        failed = task.fields["failed"]
        return Text(f"{failed} failed", style="red" if failed else "dim")


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{rate:.1f}/s", style="cyan")
