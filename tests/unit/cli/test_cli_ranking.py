"""The ranked table at different widths."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from gigaexec.calls import OutcomeStatus
from gigaexec.cli.render.ranking import ranking_table
from gigaexec.evaluation import ProgramEvaluation, rank
from gigaexec.evaluation.problems import MetricSpec, MetricsSpec

LONG_REASON = "ValueError: " + "the points do not lie where they should " * 3

METRICS = MetricsSpec(
    {
        "is_valid": MetricSpec("is_valid"),
        "share_of_best_known": MetricSpec("share_of_best_known", decimals=4),
        "area": MetricSpec("area", decimals=3, is_primary=True, higher_is_better=True, upper_bound=1.0),
        **{f"more_{index}": MetricSpec(f"more_{index}", decimals=2) for index in range(8)},
    }
)


def _valid(name: str, area: float) -> ProgramEvaluation:
    metrics = dict.fromkeys(METRICS.specs, area)
    verdict = METRICS.judge(metrics)
    return ProgramEvaluation(
        name,
        "id",
        path=Path(f"/somewhere/{name}.py"),
        is_valid=True,
        metrics=verdict.values,
        out_of_bounds=verdict.out_of_bounds,
        wall_time_s=1.5,
        cpu_time_s=1.25,
        peak_rss_kb=40 * 1024,
    )


EVALUATIONS = [
    _valid("good", 0.5),
    _valid("generation_0012_candidate_with_a_very_long_name_000371", 0.25),
    _valid("record", 1.5),
    ProgramEvaluation("bad", "id", status=OutcomeStatus.TIMED_OUT, reason=LONG_REASON, run_time_s=3.0),
    ProgramEvaluation("lost", "id", status=OutcomeStatus.INFRASTRUCTURE, reason="no worker started"),
]


def _lines(width: int | None) -> list[str]:
    return [line.plain for line in ranking_table(rank(EVALUATIONS, METRICS), METRICS, width=width)]


def test_r85_without_a_width_everything_is_shown() -> None:
    lines = _lines(None)
    text = "\n".join(lines)
    assert "generation_0012_candidate_with_a_very_long_name_000371" in text
    assert LONG_REASON.strip() in text
    assert "more_7" in text
    assert "No room" not in text
    assert "is_valid" not in text
    assert lines[1].split()[:5] == ["#", "program", "valid", "area", "best_known"]
    record = next(line for line in lines if " record " in line)
    assert record.split()[:5] == ["1", "record", "yes", "1.500!", "1.5000"]
    assert record.endswith("1.50 s  1.25 s  40 MiB")


@pytest.mark.parametrize("width", [35, 40, 48, 56, 80, 100, 120, 200])
def test_table_fits_the_terminal_and_says_what_it_leaves_out(width: int) -> None:
    lines = _lines(width)
    table = lines[: lines.index("")]
    assert max(map(cell_len, table)) <= width
    text = "\n".join(lines)
    assert "area" in text
    assert ("..." in text) == (width < 200)
    assert "0371" in text  # a long name is cut at its start
    assert ("No room for:" in text) == (width < 200)


def test_narrow_terminal_puts_reasons_on_lines_of_their_own() -> None:
    lines = _lines(80)
    at = next(index for index, line in enumerate(lines) if line.startswith("-  bad"))
    assert "ValueError" not in lines[at]
    assert lines[at].endswith("3.00 s       -       -")
    assert lines[at + 1].strip().startswith("ValueError: the points")


def test_wide_terminal_puts_reasons_into_the_last_column() -> None:
    header, *rows = _lines(250)[1:6]
    at = header.index("reason")
    bad = next(row for row in rows if row.startswith("-  bad"))
    assert bad[at:].startswith("ValueError: the points do not lie")
    assert bad.endswith("...")
    assert len(bad) <= 250
    assert not [row for row in rows if row is not bad and len(row) > at]


def test_numbers_are_aligned_at_their_right() -> None:
    header, *rows = _lines(None)[1:6]
    end = header.index(" area") + len(" area")
    assert [row[:end].split()[-1] for row in rows[:3]] == ["1.500!", "0.500", "0.250"]
    assert len({row.index(" MiB") for row in rows[:3]}) == 1


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"])), min_size=2, unique=True))
def test_columns_are_aligned_whatever_the_width_of_a_character(names: list[str]) -> None:
    metrics = MetricsSpec({"area": METRICS.specs["area"]})
    evaluations = [replace(_valid("", 0.5), name=name, metrics={"area": 0.5}) for name in names]
    for width in (None, 60):
        lines = [line.plain for line in ranking_table(rank(evaluations, metrics), metrics, width=width)]
        rows = lines[1 : 1 + len(names)]
        # Search from the right: a name may contain "  yes  " too.
        assert len({cell_len(row[: row.rindex("  yes  ")]) for row in rows}) == 1
        assert len({cell_len(row) for row in rows}) == 1


def test_r10_markup_in_the_text_of_a_program_is_shown_as_it_is() -> None:
    bad = ProgramEvaluation(
        "[red]name", "id", status=OutcomeStatus.ERROR, reason="[bold]x[/] [/nothing] :smile:"
    )
    for width in (None, 60):
        lines = [line.plain for line in ranking_table(rank([bad], METRICS), METRICS, width=width)]
        assert "[red]name" in "".join(lines)
        assert "[bold]x[/] [/nothing] :smile:" in "".join(lines)


def test_very_narrow_terminal_loses_the_costs_before_the_primary_metric() -> None:
    lines = _lines(40)
    assert lines[0].split() == ["#", "program", "valid", "area", "wall"]
    assert lines[1].endswith("1.500!  1.50 s")
    assert any(line.startswith("No room for:") and ", CPU, peak." in line for line in lines)


def test_unjudged_programs_are_listed_apart_and_bounds_are_explained() -> None:
    lines = _lines(None)
    apart = lines.index("Not evaluated (no verdict on the program):")
    assert "lost" in lines[apart + 1]
    assert "?" in lines[apart + 1]
    assert "Ranked by area, higher is better." in lines
    assert "  record: area 1.5 is above the upper bound 1.0" in lines


@given(
    name=st.text(max_size=60),
    reason=st.text(max_size=300),
    width=st.integers(30, 250),
)
def test_r10_any_text_keeps_to_its_line_and_the_width(name: str, reason: str, width: int) -> None:
    evaluations = [
        ProgramEvaluation(name, "id", status=OutcomeStatus.ERROR, reason=reason),
        _valid("other", 0.5),
    ]
    lines = [line.plain for line in ranking_table(rank(evaluations, METRICS), METRICS, width=width)]
    assert not {unicodedata.category(character) for line in lines for character in line} & {"Cc", "Cf", "Cs"}
    assert max(map(cell_len, lines[: lines.index("")])) <= width
