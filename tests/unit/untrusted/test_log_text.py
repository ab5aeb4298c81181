"""R10: program text in a log can neither forge nor hide log lines."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, strategies as st

import gigaexec
from gigaexec.untrusted.log_text import block, one_line, sanitize_for_log

# Includes lone surrogates, which hypothesis excludes by default.
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
# Mostly escape sequences and control characters.
HOSTILE_TEXT = st.lists(
    st.sampled_from([*"\x1b\x9b\x9d\x90\x07\x9c[]m0;AP\\\n\t\r\x00", "\u202e", "\u2066", "\ud800", "\u2028"])
).map("".join)
TEXTS = st.one_of(ANY_TEXT, HOSTILE_TEXT)
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@given(TEXTS)
def test_r10_sanitized_text_holds_no_control_character_and_stays_as_it_is(text: str) -> None:
    sanitized = sanitize_for_log(text)
    assert not CONTROL.search(sanitized)
    assert sanitize_for_log(sanitized) == sanitized
    sanitized.encode("utf-8")


@given(TEXTS)
def test_r10_one_line_holds_nothing_unsafe(text: str) -> None:
    line = one_line(text)
    assert not {unicodedata.category(character) for character in line} & UNSAFE
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line


@given(ANY_TEXT.filter(lambda text: "\x1b" not in text and not re.search("[\x90\x98\x9b\x9d-\x9f]", text)))
def test_r10_harmless_characters_stay_in_their_order(text: str) -> None:
    harmless = [character for character in text if unicodedata.category(character) not in UNSAFE]
    remaining = iter(sanitize_for_log(text))
    assert all(character in remaining for character in harmless)


@given(ANY_TEXT)
def test_r10_one_line_and_block_show_every_harmless_character(text: str) -> None:
    harmless = [character for character in text if unicodedata.category(character) not in UNSAFE]
    for show in (one_line, block):
        remaining = iter(show(text))
        assert all(character in remaining for character in harmless), (
            "a harmless character is missing or out of order"
        )


@given(ANY_TEXT)
def test_r10_a_block_keeps_its_newlines_and_tabs_alone(text: str) -> None:
    shown = block(text)
    left = {character for character in shown if unicodedata.category(character) in UNSAFE}
    assert left <= {"\n", "\t"}
    assert shown.count("\n") == text.count("\n")
    assert shown.count("\t") == text.count("\t")


@pytest.mark.parametrize(
    ("text", "sanitized"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9dtitle\x9cshown", "shown"),
        ("\x1bPdevice\x1b\\shown", "shown"),
        ("\x1bcreset", "reset"),
        ("\x1bXstring\x1b\\shown", "shown"),
        ("\x1b]unterminated\nnext line\x07", "unterminated\nnext line\\x07"),
        ("\x9dunterminated", "\\x9dunterminated"),
        ("\x1b[31", "31"),
        ("\x1b[3\x1b[1m1m", "31m"),
        ("\x1b\x1b[0m[31m", "\\x1b[31m"),
        ("cut off \x1b", "cut off \\x1b"),
        ("a\0b\x7f", "a\\x00b\\x7f"),
        ("line\r\nnext\ttab", "line\\x0d\nnext\ttab"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("\u2066isolated\u2069", "isolated"),
        ("\ud800", "\ufffd"),
        ("naïve 日本 \U0001f600", "naïve 日本 \U0001f600"),
        ("", ""),
    ],
)
def test_r10_examples(text: str, sanitized: str) -> None:
    assert gigaexec.sanitize_for_log(text) == sanitized


@pytest.mark.parametrize("code", [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)])
def test_r10_a_control_character_on_its_own_is_shown_by_number(code: int) -> None:
    assert sanitize_for_log(f"a{chr(code)}") == f"a\\x{code:02x}"


@pytest.mark.parametrize(
    "opening", ["\x1b]", "\x1bP", "\x9d", "\x90", "\x1b[0", "\x9b0", "\x1b ", "\x1b]\x9d", "\u202e"]
)
def test_r10_many_unterminated_sequences_take_linear_time(opening: str) -> None:
    # Half a million would take hours in quadratic time.
    assert not CONTROL.search(sanitize_for_log(opening * 500_000))


@pytest.mark.parametrize(
    ("text", "line"),
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
def test_r10_one_line_examples(text: str, line: str) -> None:
    assert one_line(text) == line
