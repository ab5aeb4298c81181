"""The ranked table of `gigaexec evaluate`, fitted to the width of the terminal.

    #  program         valid  min_area  spread    wall     CPU    peak  reason
    1  softmin_ascent  yes     0.03653   0.112  3.94 s  3.90 s  40 MiB
    -  forgotten       no                        12 ms   12 ms  33 MiB  SyntaxError: '[' was never closed

The class Table of rich was tried and rejected. On a narrow terminal, it shrinks every column; this module
leaves out the least important columns and lists them in a note. Cells of a Table cannot span columns; here, a
reason that does not fit beside its row gets a line of its own. A Table also takes ten times as long per row.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.align import AlignMethod
from rich.cells import cell_len
from rich.text import Text

from gigaexec.cli.short_texts import (
    break_at_underscores,
    memory_text,
    seconds_text,
    shorten_end,
    shorten_middle,
)
from gigaexec.evaluation import ProgramEvaluation, Ranking
from gigaexec.evaluation.problems import MetricsSpec
from gigaexec.untrusted.log_text import one_line

_GAP = "  "
_VALIDITY_METRIC = "is_valid"
_VALIDITY_STYLES = {"yes": "green", "no": "red", "?": "yellow"}
_OUT_OF_BOUNDS_MARK = "!"
# If fewer terminal cells than this are free beside the rows, reasons get lines of their own.
_MIN_REASON_WIDTH = 60
_MAX_REASON_WIDTH = 200
_MIN_PROGRAM_WIDTH = 12
# In the header, a metric name that is wider than this, in terminal cells, is broken at its underscores.
_ONE_LINE_HEADER_WIDTH = 12


def ranking_table(ranking: Ranking, metrics: MetricsSpec, *, width: int | None) -> list[Text]:
    """Return the lines of the table.

    Args:
        ranking: The evaluations.
        metrics: The metrics of the problem.
        width: Width of the terminal in cells; None if the output is not a terminal. Without a terminal, only
            reasons longer than 200 cells are shortened.
    """
    columns, left_out = _fitting_columns(ranking, metrics, width)
    header, rows = _laid_out(columns)
    reasons = ["" if each.is_valid else one_line(each.reason) for each in _listed(ranking)]
    room = _MAX_REASON_WIDTH if width is None else width - _width_of(columns) - len(_GAP)
    is_beside = room >= min(_MIN_REASON_WIDTH, max(map(cell_len, ["reason", *reasons])))
    indent = " " * columns[0].width + 2 * _GAP
    if not is_beside:
        room = (width or 0) - len(indent)
    elif any(reasons):
        header[-1].append(f"{_GAP}reason", style="bold")
    for line in header:
        line.rstrip()
    lines = header
    for index, (row, reason) in enumerate(zip(rows, reasons, strict=True)):
        if index == len(ranking.valid) + len(ranking.invalid):
            lines += [Text(), Text("Not evaluated (no verdict on the program):", style="yellow")]
        reason = shorten_end(reason, room)
        lines.append(row.append(_GAP + reason) if is_beside else row)
        row.rstrip()
        if reason and not is_beside:
            lines.append(Text(indent + reason))
    return [*lines, Text(), *_notes(ranking, metrics, left_out)]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table.

    Args:
        name: Name of the column, for the note about columns that do not fit.
        cells: One text for each program.
        justify: The side to which header and cells are aligned.
        header: The lines of the header.
        width: Width of header and cells, in terminal cells.
    """

    name: str
    cells: Sequence[Text]
    justify: AlignMethod
    header: Sequence[str]
    width: int

    @classmethod
    def of(
        cls, name: str, cells: Iterable[Text], *, justify: AlignMethod = "right", header: Sequence[str] = ()
    ) -> _Column:
        cells, header = list(cells), header or [name]
        width = max(map(cell_len, [*header, *(cell.plain for cell in cells)]))
        return cls(name, cells, justify, header, width)


def _fitting_columns(
    ranking: Ranking, metrics: MetricsSpec, width: int | None
) -> tuple[list[_Column], list[str]]:
    """Return the columns that fit into the width, and the names of the columns that do not fit.

    Rank, program, validity and the primary metric are always shown. The remaining room is filled with the
    costs (time and memory), then with other metrics.
    """
    listed = _listed(ranking)
    fixed = [
        _Column.of("#", map(Text, _ranks(ranking))),
        _Column.of("program", map(Text, _program_texts(listed, width)), justify="left"),
        _Column.of(
            "valid",
            (Text(text, style=_VALIDITY_STYLES[text]) for text in _validities(ranking)),
            justify="left",
        ),
    ]
    # The metric `is_valid` gets no column, because the column "valid" already shows the validity.
    others = [name for name in metrics.specs if name not in (metrics.primary, _VALIDITY_METRIC)]
    primary, *values = (
        _Column.of(
            name,
            (_metric_cell(each, metrics, name) for each in listed),
            header=break_at_underscores(name, _ONE_LINE_HEADER_WIDTH),
        )
        for name in (metrics.primary, *others)
    )
    costs = [
        _Column.of("wall", (Text(seconds_text(_wall_time_s(each))) for each in listed)),
        _Column.of("CPU", (Text(seconds_text(each.cpu_time_s)) for each in listed)),
        _Column.of("peak", (Text(memory_text(each.peak_rss_kb)) for each in listed)),
    ]
    fixed.append(primary)
    shown_costs = _first_that_fit(costs, fixed, width)
    shown_values = _first_that_fit(values, [*fixed, *shown_costs], width)
    left_out = [*values[len(shown_values) :], *costs[len(shown_costs) :]]
    return [*fixed, *shown_values, *shown_costs], [column.name for column in left_out]


def _first_that_fit(
    columns: Sequence[_Column], beside: Sequence[_Column], width: int | None
) -> Sequence[_Column]:
    count = len(columns)
    while width is not None and count and _width_of([*beside, *columns[:count]]) > width:
        count -= 1
    return columns[:count]


def _width_of(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _laid_out(columns: Sequence[_Column]) -> tuple[list[Text], list[Text]]:
    """Return the header lines of the table, and one line for each program."""
    height = max(len(column.header) for column in columns)
    headers = [[""] * (height - len(column.header)) + [*column.header] for column in columns]
    header = [
        _line([Text(text, style="bold") for text in texts], columns) for texts in zip(*headers, strict=True)
    ]
    return header, [
        _line(cells, columns) for cells in zip(*(column.cells for column in columns), strict=True)
    ]


def _line(cells: Sequence[Text], columns: Sequence[_Column]) -> Text:
    for cell, column in zip(cells, columns, strict=True):
        cell.align(column.justify, column.width)
    return Text(_GAP).join(cells)


def _listed(ranking: Ranking) -> list[ProgramEvaluation]:
    """Return all evaluations in the order of the rows of the table."""
    return [*ranking.valid, *ranking.invalid, *ranking.not_judged]


def _ranks(ranking: Ranking) -> list[str]:
    valid_count = len(ranking.valid)
    return [*map(str, range(1, valid_count + 1)), *["-"] * (len(ranking) - valid_count)]


def _validities(ranking: Ranking) -> list[str]:
    return ["yes"] * len(ranking.valid) + ["no"] * len(ranking.invalid) + ["?"] * len(ranking.not_judged)


def _program_texts(listed: Sequence[ProgramEvaluation], width: int | None) -> list[str]:
    """Return the name of each program, or its path if several programs have the same name."""
    counts = Counter(each.name for each in listed)
    texts = [
        one_line(os.path.relpath(each.path) if counts[each.name] > 1 and each.path is not None else each.name)
        for each in listed
    ]
    if width is None:
        return texts
    return [shorten_middle(text, max(_MIN_PROGRAM_WIDTH, width // 3)) for text in texts]


def _metric_cell(evaluation: ProgramEvaluation, metrics: MetricsSpec, name: str) -> Text:
    if not evaluation.is_valid:
        return Text()
    text = one_line(metrics.format(name, evaluation.metrics[name]))
    if name in evaluation.out_of_bounds:
        return Text(text + _OUT_OF_BOUNDS_MARK, style="yellow bold")
    return Text(text)


def _wall_time_s(evaluation: ProgramEvaluation) -> float | None:
    # A killed call reports no wall time, so use the run time that the driver measured.
    if evaluation.wall_time_s is None and evaluation.run_time_s > 0:
        return evaluation.run_time_s
    return evaluation.wall_time_s


def _notes(ranking: Ranking, metrics: MetricsSpec, left_out: Sequence[str]) -> list[Text]:
    direction = "higher" if metrics.primary_spec.higher_is_better else "lower"
    notes = [Text(f"Ranked by {metrics.primary}, {direction} is better.", style="dim")]
    if left_out:
        names = ", ".join(left_out)
        notes.append(Text(f"No room for: {names}. A wider terminal or --json shows them.", style="dim"))
    findings = [
        one_line(f"{each.name}: {metric} {finding}")
        for each in ranking.valid
        for metric, finding in each.out_of_bounds.items()
    ]
    if findings:
        notes.append(
            Text(f"{_OUT_OF_BOUNDS_MARK} marks a value out of bounds, a record or a cheat:", style="yellow")
        )
        notes += [Text(f"  {finding}", style="yellow") for finding in findings]
    return notes
