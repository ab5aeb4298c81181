"""R10: JSON that can go to a terminal and loses nothing."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, strategies as st

from gigaexec.json_text import is_json, json_line, safe_repr

_TEXTS = st.text(st.characters(exclude_categories=[]))  # lone surrogates, too
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
)


@given(_VALUES)
def test_line_is_printable_and_reads_back_equal(value: object) -> None:
    assert is_json(value)
    line = json_line(value)
    assert line.isprintable()
    assert _joined_surrogates(json.loads(line)) == _joined_surrogates(value)


def _joined_surrogates(value: object) -> str:
    # JSON cannot tell a pair of lone surrogates from the character that they make up.
    return repr(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_letters_stay_and_invisible_characters_are_escaped() -> None:
    assert json_line("имя\u202e\x1b\x7f\U000e0001") == '"имя\\u202e\\u001b\\u007f\\udb40\\udc01"'


@pytest.mark.parametrize("value", [math.nan, [math.inf], {1: 2}, {"a": {3}}, b"x", object()])
def test_what_json_cannot_hold_is_told(value: object) -> None:
    assert not is_json(value)


def test_value_that_contains_itself_is_not_json() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert not is_json(loop)


def test_repr_that_raises_is_replaced() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert safe_repr(Rude()) == "<Rude object, whose repr raised RuntimeError>"
