"""Durations, amounts of memory, and texts cut to a width."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from gigaexec.cli.short_texts import (
    break_at_underscores,
    memory_text,
    seconds_text,
    shorten_end,
    shorten_middle,
)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (None, "-"),
        (0.0, "0.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (99.96, "1 m 40 s"),
        (3599.7, "1 h 00 m"),
        (7261.0, "2 h 01 m"),
    ],
)
def test_seconds(value_s: float | None, text: str) -> None:
    assert seconds_text(value_s) == text


@pytest.mark.parametrize(
    ("kibibytes", "text"), [(None, "-"), (40 * 1024, "40 MiB"), (20 * 1024**2, "20.0 GiB")]
)
def test_memory(kibibytes: int | None, text: str) -> None:
    assert memory_text(kibibytes) == text


@given(st.text(st.characters(categories=["L", "N", "P", "S"])), st.integers(8, 40))
def test_cut_texts_are_never_wider(text: str, width: int) -> None:
    for shortened in (shorten_end(text, width), shorten_middle(text, width)):
        assert cell_len(shortened) <= width
        assert cell_len(text) > width or shortened == text


def test_shortened_middle_keeps_both_ends() -> None:
    assert shorten_middle("candidate_000123", 12) == "candi...0123"


def test_names_break_at_underscores() -> None:
    assert break_at_underscores("execution_time_sec", 12) == ["execution_", "time_sec"]
    assert break_at_underscores("unbreakable", 4) == ["unbreakable"]
    assert break_at_underscores("_x_", 12) == ["_x_"]
