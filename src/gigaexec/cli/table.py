"""The ranked table, fitted to the width of the terminal.

     #  program          valid    min_area  spread    wall     CPU    peak
     1  softmin_ascent   yes       0.03653   0.112  3.94 s  3.90 s  40 MiB
     -  forgotten        no     SyntaxError: '[' w...  12 ms   12 ms  33 MiB

The reason of a failure spans the columns of the metrics, which rich's tables cannot do. Where they are too
narrow for one, reasons go on lines of their own. Metrics and costs that do not fit are named under the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from gigaexec.cli.table_rows import OUT_OF_BOUNDS_MARK, Row, bounds_findings, ranked_rows, shown_metrics
from gigaexec.cli.text_width import broken_at_underscores, cut, cut_middle, left, right, widest
from gigaexec.evaluation import Ranking
from gigaexec.evaluation.problems import MetricsSpec

_GAP = "  "
_COST_HEADERS = ("wall", "CPU", "peak")
# Fewer columns than this tell too little of a reason; a line of its own tells more.
_MIN_REASON_WIDTH = 36
_MAX_REASON_WIDTH = 200
_MIN_PROGRAM_WIDTH = 12
# Longer names of metrics are broken at their underscores.
_ONE_LINE_HEADER_WIDTH = 12


def ranking_table(ranking: Ranking, metrics: MetricsSpec, *, width: int | None) -> list[Text]:
    """Return the lines of the table.

    Args:
        ranking: What it shows.
        metrics: The metrics of the problem.
        width: Columns of the terminal; None does not cut anything but very long reasons.
    """
    judged, not_judged = ranked_rows(ranking, metrics)
    layout = _Layout.fit([*judged, *not_judged], shown_metrics(metrics), width)
    lines = layout.header()
    for row in judged:
        lines += layout.lines_of(row)
    if not_judged:
        lines += [Text(), Text("Not evaluated, which says nothing about the program:", style="yellow")]
        for row in not_judged:
            lines += layout.lines_of(row)
    notes = _notes(ranking, metrics, layout.left_out)
    return [*lines, Text(), *notes]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of the columns.

    Args:
        metrics: Names of the metrics that have a column.
        left_out: Names of the metrics and costs for which there is no room.
        rank, program, validity, cost: Widths of these columns.
        values: Width of each metric's column.
        middle: Width of all metrics' columns together, which a reason may fill.
        reason: How much of a reason is shown.
        is_reason_inline: Whether reasons stand in the middle; otherwise on lines of their own.
    """

    metrics: tuple[str, ...]
    left_out: tuple[str, ...]
    rank: int
    program: int
    validity: int
    cost: tuple[int, ...]
    values: tuple[int, ...]
    middle: int
    reason: int
    is_reason_inline: bool

    @classmethod
    def fit(cls, rows: Sequence[Row], metrics: Sequence[str], width: int | None) -> _Layout:
        rank = widest(row.rank for row in rows)
        program = max(len("program"), widest(row.program for row in rows))
        if width is not None:
            program = min(program, max(_MIN_PROGRAM_WIDTH, width // 3))
        cost = tuple(
            max(len(header), widest(row.cost[index] for row in rows))
            for index, header in enumerate(_COST_HEADERS)
        )
        values = [
            max(
                widest(row.metrics[index] for row in rows if row.metrics),
                widest(broken_at_underscores(name, _ONE_LINE_HEADER_WIDTH)),
            )
            for index, name in enumerate(metrics)
        ]
        validity = len("valid")
        if width is not None:
            beside_cost = rank + program + validity + values[0] + len(_GAP) * 3
            cost = cost[: _how_many_fit(cost, width - beside_cost - len(_GAP), at_least=0)]
        around = rank + program + validity + sum(cost) + len(_GAP) * (3 + len(cost))
        room = None if width is None else max(0, width - around)
        shown = _how_many_fit(values, room, at_least=1)  # the primary metric
        needed = _joined(values[:shown])
        longest_reason = min(_MAX_REASON_WIDTH, widest(row.reason for row in rows))
        inline_width = longest_reason if room is None else min(longest_reason, max(needed, room))
        is_inline = inline_width >= min(longest_reason, _MIN_REASON_WIDTH)
        beneath = _MAX_REASON_WIDTH if width is None else width - rank - 2 * len(_GAP)
        return cls(
            metrics=tuple(metrics[:shown]),
            left_out=(*metrics[shown:], *_COST_HEADERS[len(cost) :]),
            rank=rank,
            program=program,
            validity=validity,
            cost=cost,
            values=tuple(values[:shown]),
            middle=max(needed, inline_width if is_inline else 0),
            reason=inline_width if is_inline else beneath,
            is_reason_inline=is_inline,
        )

    def header(self) -> list[Text]:
        """The names of the columns; long names of metrics take several lines."""
        names = [
            broken_at_underscores(name, width) for name, width in zip(self.metrics, self.values, strict=True)
        ]
        height = max(map(len, names))
        lines = []
        for index in range(height):
            is_last = index == height - 1
            pieces = [_nth_from_bottom(name, height - index) for name in names]
            middle = _GAP.join(right(piece, width) for piece, width in zip(pieces, self.values, strict=True))
            cost = [header if is_last else "" for header in _COST_HEADERS[: len(self.cost)]]
            fixed = ("#", "program", "valid") if is_last else ("", "", "")
            lines.append(_line(*self._ends(*fixed, cost), Text(self._padded(middle)), style="bold"))
        return lines

    def lines_of(self, row: Row) -> list[Text]:
        """The program's line, and one more for a reason that has no room in it."""
        start, end = self._ends(row.rank, row.program, row.validity, row.cost[: len(self.cost)])
        start.stylize({"yes": "green", "no": "red"}.get(row.validity, "yellow"), len(start) - self.validity)
        reason = Text(cut(row.reason, self.reason))
        if row.metrics:
            return [_line(start, end, self._values(row))]
        if self.is_reason_inline:
            reason.plain = self._padded(reason.plain)
            return [_line(start, end, reason)]
        return [
            _line(start, end, Text(self._padded(""))),
            Text.assemble(" " * self.rank, _GAP, _GAP, reason),
        ]

    def _values(self, row: Row) -> Text:
        cells = []
        for name, text, width in zip(
            self.metrics, row.metrics[: len(self.metrics)], self.values, strict=True
        ):
            cells.append(Text(right(text, width), style="yellow bold" if name in row.flagged else ""))
        values = Text(_GAP).join(cells)
        values.append(" " * (self.middle - _joined(self.values)))
        return values

    def _ends(self, rank: str, program: str, validity: str, cost: Sequence[str]) -> tuple[Text, Text]:
        start = Text(
            _GAP.join(
                (
                    right(rank, self.rank),
                    left(cut_middle(program, self.program), self.program),
                    validity.ljust(self.validity),
                )
            )
        )
        end = _GAP.join(right(text, width) for text, width in zip(cost, self.cost, strict=True))
        return start, Text(end)

    def _padded(self, text: str) -> str:
        return left(text, self.middle)


def _line(start: Text, end: Text, middle: Text, *, style: str = "") -> Text:
    line = Text.assemble(start, _GAP, middle, _GAP, end)
    line.stylize(style)
    line.rstrip()
    return line


def _notes(ranking: Ranking, metrics: MetricsSpec, left_out: Sequence[str]) -> list[Text]:
    direction = "higher" if metrics.primary_spec.higher_is_better else "lower"
    notes = [Text(f"Ranked by {metrics.primary}, {direction} is better.", style="dim")]
    if left_out:
        names = ", ".join(left_out)
        notes.append(Text(f"No room for: {names}. A wider terminal or --json shows them.", style="dim"))
    findings = bounds_findings(ranking)
    if findings:
        notes.append(Text(f"{OUT_OF_BOUNDS_MARK} outside its bounds; a record, or a cheat:", style="yellow"))
        notes += [Text(f"  {finding}", style="yellow") for finding in findings]
    return notes


def _how_many_fit(widths: Sequence[int], room: int | None, *, at_least: int) -> int:
    """How many columns there is room for, the first ones."""
    count = len(widths)
    while room is not None and count > at_least and _joined(widths[:count]) > room:
        count -= 1
    return count


def _joined(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _nth_from_bottom(lines: Sequence[str], number: int) -> str:
    return lines[-number] if number <= len(lines) else ""
