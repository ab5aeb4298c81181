"""R10, R33: lossless JSON that is safe to print on a terminal."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gigaexec.untrusted.json_text import is_json, json_line, metric_as_json, safe_repr

_TEXTS = st.text(st.characters(exclude_categories=[]))  # includes lone surrogates
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
    # JSON cannot distinguish a surrogate pair from the character that it encodes.
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


def test_r33_a_value_whose_json_would_be_endless_is_not_json() -> None:
    grown: list[object] = []
    for _ in range(200):
        grown = [grown, grown]
    assert not is_json(grown)
    assert safe_repr(grown, most_characters=9) == "[[[[[[[[[..."
    assert len(safe_repr({"a": [1, 2], 3: "x" * 100}, most_characters=30)) == 33


@pytest.mark.parametrize("value", [[10**5000], [-(10**5000)], {"a": (10**5000,)}])
def test_r33_an_integer_that_python_does_not_write_is_not_json(value: object) -> None:
    assert not is_json(value)
    assert "<int of 16610 bits>" in safe_repr(value)


def rude_object() -> object:
    """Return an object that raises SystemExit on any use of it or of its class."""

    class Meta(type):
        def __getattribute__(cls, name: str) -> object:
            raise SystemExit(name)

        def __eq__(cls, other: object) -> bool:
            raise SystemExit("eq")

        def __hash__(cls) -> int:
            raise SystemExit("hash")

    class Rude(metaclass=Meta):
        def __getattribute__(self, name: str) -> object:
            raise SystemExit(name)

        def __repr__(self) -> str:
            raise SystemExit("repr")

    return object.__new__(Rude)


def test_r33_no_code_of_other_classes_is_run() -> None:
    rude = rude_object()
    assert not is_json([rude])
    assert safe_repr([rude, (1,), {"a": rude}, set()]) == "[<Rude object>, (1,), {'a': <Rude object>}, set()]"
    assert metric_as_json(rude) == "<Rude object>"


@given(
    _VALUES | st.sets(st.integers()) | st.frozensets(st.binary()) | st.tuples(_VALUES, st.complex_numbers())
)
def test_what_consists_of_builtin_types_has_its_usual_repr(value: object) -> None:
    assert safe_repr(value) == repr(value)


def test_what_numpy_brings_has_its_usual_repr() -> None:
    for value in (np.float64(0.5), np.int8(3), np.array([[1, 2]]), np.str_("a")):
        assert safe_repr(value) == repr(value)
    assert safe_repr(np.array([object()])) == "<ndarray object>"


def test_what_numpy_refuses_to_write_is_named() -> None:
    dates = np.array([5]).view("M8")  # a datetime64 without a unit
    with pytest.raises(ValueError, match="generic units"):
        repr(dates)
    assert safe_repr([dates, dates[0], 1]) == "[<ndarray object>, <datetime64 object>, 1]"
    assert metric_as_json(dates[0]) == "<datetime64 object>"


def test_value_that_contains_itself_has_a_repr_that_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert safe_repr(loop) == "<list object>"
