"""R104: plain data travels as data on every backend, with exactly the types that a pickle would give."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from gigaexec import WorkerCall
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.encoded import EncodedCall, EncodedOutcome

IMPORTS = """
import collections, datetime, decimal, enum, fractions, math, uuid, zoneinfo
import numpy as np
"""


def encoded(backend: Any, code: str) -> EncodedOutcome:
    call = EncodedCall.from_call(WorkerCall(code, "f"), deadline_s=30.0)
    ended: EncodedOutcome = asyncio.run(backend.run_encoded(call))
    assert ended.outcome.error is None
    return ended


def format_and_value(backend: Any, code: str) -> tuple[str, Any]:
    """Run a program and return the format of its value, and the value."""
    ended = encoded(backend, IMPORTS + code)
    assert ended.value is not None
    return ended.value.layout.format, ended.decode(ResultFormat.PICKLE).unwrap()


def types_in(value: Any) -> Any:
    """Return the types of a value and of everything in it."""
    if type(value) is dict:
        return dict, [(types_in(key), types_in(item)) for key, item in value.items()]
    if type(value) in (list, tuple):
        return type(value), [types_in(item) for item in value]
    return type(value)


PLAIN = [
    "None, True, 1, -2.5, float('inf'), 'a', 'ä' * 70_000, b'raw', 2 ** 200, '\\ud800'",
    "[1, (2, [3.0]), {'a': {4}, (5, 'b'): frozenset([6])}]",
    "[datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc), datetime.date(2024, 1, 2)]",
    "[decimal.Decimal('1.50'), uuid.UUID(int=5), 1 + 2j, bytearray(b'x')]",
    "[zoneinfo.ZoneInfo('Europe/Berlin'), datetime.timedelta(1)]",
    "[np.float64(1.5), np.int8(3), np.bool_(True), np.str_('a'), np.arange(3)]",
    "[np.zeros((300, 200), order='F')]",
    "[np.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f8')]), np.datetime64('2024-01-01', 's')]",
    "[(0, 1), (0, 1)], ((0, 1), (1, 0)), ((0, 1), (1, 0))",
]


@pytest.mark.parametrize("expression", PLAIN)
def test_plain_data_travels_as_data(backend: Any, expression: str) -> None:
    expected = eval(expression, {**vars(np), "np": np, **_names()})
    name, value = format_and_value(backend, f"def f(): return {expression}")
    assert name == "data"
    assert types_in(value) == types_in(expected)
    assert repr(value) == repr(expected)


def _names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    return names


PICKLED = {
    "a subclass of dict": "collections.OrderedDict(a=1)",
    "a default dict": "collections.defaultdict(list, a=[1])",
    "a fraction": "fractions.Fraction(1, 3)",
    "a deque": "[collections.deque([1])]",
    "a range": "range(3)",
    "an enum": "enum.IntEnum('Level', ['LOW'])(1)",
    "a dtype with metadata": "np.zeros(2, np.dtype('f8', metadata={'unit': 'm'}))",
    "an array of objects": "np.array([1, 'a'], dtype=object)",
}


@pytest.mark.parametrize("expression", PICKLED.values(), ids=PICKLED)
def test_a_value_whose_type_would_change_is_pickled(backend: Any, expression: str) -> None:
    name, value = format_and_value(backend, f"def f(): return {expression}")
    assert name == "pickle"
    expected = eval(expression, _names())
    assert type(value).__name__ == type(expected).__name__
    assert repr(value) == repr(expected)


REPEATED = {
    "list": "a = [1]",
    "dict": "a = {}",
    "set": "a = {1}",
    "bytearray": "a = bytearray(b'x')",
    "array": "a = np.arange(5)",
    "large array": "a = np.arange(100_000)",
    "tuple with a list": "a = ([1],)",
    "large tuple": "a = tuple(range(50))",
    "large text": "a = 'x' * 100_000",
    "large bytes": "a = b'x' * 100_000",
}


@pytest.mark.parametrize("statement", REPEATED.values(), ids=REPEATED)
def test_an_object_that_occurs_twice_stays_one_object(backend: Any, statement: str) -> None:
    name, value = format_and_value(backend, f"def f():\n    {statement}\n    return [a, {{'key': a}}]")
    assert name == "pickle"
    assert value[0] is value[1]["key"]


def test_a_large_text_that_occurs_often_is_sent_once(backend: Any) -> None:
    ended = encoded(backend, "def f(): return ['x' * 100_000] * 1000, {'a': ['y' * 9_000] * 1000}")
    assert ended.value is not None
    assert ended.value.layout.total_bytes < 300_000


def test_equal_constants_are_still_plain_data(backend: Any) -> None:
    code = "def f(): return {'moves': [(0, 1), (1, 0)], 'more': [(0, 1), 'text', (0, 1), ()], 'x': ()}"
    name, value = format_and_value(backend, code)
    assert name == "data"
    assert value["more"] == [(0, 1), "text", (0, 1), ()]


def test_large_arrays_are_not_copied(backend: Any) -> None:
    name, value = format_and_value(backend, "def f(): return {'a': np.arange(1_000_000.0), 'b': [1]}")
    assert name == "data"
    array = value["a"]
    assert array.flags.writeable
    assert not array.flags.owndata
    array[0] = 5
    assert math.isclose(array.sum(), 5 + sum(range(1_000_000)))


def test_more_items_than_the_sandbox_allows_are_plain_data(backend: Any) -> None:
    name, value = format_and_value(backend, "def f(): return list(range(4_500_000))")
    assert name == "data"
    assert value[-1] == 4_499_999
