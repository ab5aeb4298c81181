"""R10: text of programs in a log line can neither forge nor hide output."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from gigaexec.untrusted.log_text import clean

# Lone surrogates included, which hypothesis leaves out by default.
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(ANY_TEXT)
def test_r10_nothing_unsafe_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not {unicodedata.category(character) for character in cleaned} & UNSAFE
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode("utf-8")


@given(ANY_TEXT)
def test_r10_what_is_harmless_stays_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    harmless = [character for character in text if unicodedata.category(character) not in UNSAFE]
    remaining = iter(cleaned)
    assert all(character in remaining for character in harmless), "in the same order"


@given(ANY_TEXT)
def test_r10_a_block_keeps_its_newlines_and_tabs_alone(text: str) -> None:
    cleaned = clean(text, keep_newlines=True)
    left = {character for character in cleaned if unicodedata.category(character) in UNSAFE}
    assert left <= {"\n", "\t"}
    assert cleaned.count("\n") == text.count("\n")
    assert cleaned.count("\t") == text.count("\t")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\0b", "a\\x00b"),
        ("line\r\nforged\ttab", "line\\r\\nforged\\ttab"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\u2066isolated\u2069", "\\u2066isolated\\u2069"),
        ("\ud800", "\\ud800"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("one\u2028two", "one\\u2028two"),
        ("\U000e0041", "\\U000e0041"),
        ("naïve 日本 \U0001f600", "naïve 日本 \U0001f600"),
        ("", ""),
    ],
)
def test_r10_examples(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
