"""Round trips of values through the data encoder and decoder."""

from __future__ import annotations

import datetime
import decimal
import math
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gigaexec.errors import ValueNotReadableError
from gigaexec.wire.data.decoder import decode_data
from gigaexec.wire.data.encoder import encode_data
from gigaexec.wire.data.record import DataRecord

UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
NAMED = datetime.timezone(datetime.timedelta(0), "here")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def round_trip(value: Any) -> Any:
    encoded = encode_data(value)
    # Copy the buffers, as a socket would: the decoded value must not share memory with the original.
    return decode_data(encoded.head, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])


def is_same(one: Any, other: Any) -> bool:
    """Compare values with their types, order and sign of zero; nan equals nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.str_ | np.bytes_):
        return list(one) == list(other)  # numpy's comparison ignores trailing NULs
    if isinstance(one, np.ndarray | np.generic):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one, math.copysign(1, one)) == (
            other,
            math.copysign(1, other),
        )
    if isinstance(one, complex):
        return is_same((one.real, one.imag), (other.real, other.imag))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(is_same(a, b) for b in other) for a in one)
    if isinstance(one, dict):
        return is_same(list(one.items()), list(other.items()))
    if isinstance(one, DataRecord):
        return is_same((one.type_name, one.fields), (other.type_name, other.fields))
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime.datetime | datetime.time):
        return one.tzinfo == other.tzinfo and repr(one) == repr(other)
    return bool(one == other)


PADDED = np.dtype([("a", "u1"), ("b", ">f8"), ("c", "?")], align=True)
NESTED = np.dtype([("p", PADDED), ("q", "U3", (2, 2)), ("t", "M8[ns]")])
SIMPLE_DTYPES = [
    *(
        "?",
        "i1",
        "u1",
        "<i2",
        ">i2",
        "<u4",
        ">u4",
        "i8",
        "u8",
        "f2",
        ">f2",
        "f4",
        "f8",
        ">f8",
        "g",
        "F",
        "D",
        "G",
    ),
    *("S1", "S5", "U1", ">U4", "V3", "M8[ns]", ">M8[25s]", "m8[D]"),
]


def array_of(dtype: Any, shape: tuple[int, ...] = (3, 4), order: Any = "C") -> Any:
    """Return an array with non-zero content; bools and characters in it are valid."""
    array = np.zeros(shape, dtype, order=order)
    numbered = np.arange(array.size).reshape(shape)
    if array.dtype.kind in "iufc":
        array[...] = numbered
    elif array.dtype.kind in "SU":
        array[...] = numbered.astype(array.dtype)
    elif array.dtype.kind in "mM":
        array.view("i8")[...] = numbered
    elif array.dtype.names == ("a", "b", "c"):
        array["a"], array["b"], array["c"] = 1, numbered, True
    elif array.dtype.names == ("p", "q", "t"):
        array["p"]["b"], array["q"] = 2.5, "añ€"
    return array


VALUES = [
    *(None, True, False, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000, -(10**30)),
    *(0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1j, complex(-0.0, math.nan)),
    *("", "abc", "añ€😀\0", "\ud800", "x\udfff" * 3, b"", b"\0\xff", b"x" * 100_000),
    *(bytearray(b"ab"), bytearray(20_000)),
    *([], (), set(), frozenset(), {}, [[]], ([],), {1, 2}, frozenset({1, (2, frozenset({3}))})),
    {"b": 1, "a": 2, 3: [4], (5, 6): {7}, frozenset({8}): b"9", None: None, 1.5: 2},
    {b"k": 0, False: 1, 2**70: 3},
    {math.nan: 1, "x": {"\ud800": [10**50]}, decimal.Decimal(3): datetime.date(2020, 1, 2), np.int64(5): 6},
    [1, [2, (3, {"x": [4, 5, {"y": (6, b"7")}]}), 8], 9],
    *(datetime.date(1, 1, 1), datetime.time(23, 59, 59, 999_999, fold=1), datetime.time(1, tzinfo=EAST)),
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5),
    *(datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zone) for zone in (UTC, EAST, NAMED, BERLIN)),
    *(datetime.timedelta(-1, 2, 3), datetime.timedelta.max, UTC, EAST, NAMED, BERLIN),
    *map(decimal.Decimal, ("0", "-0", "1.10", "NaN", "-sNaN123", "Infinity", "-1E+999999999999999999")),
    *(uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)),
    *(DataRecord("m.C", {}), DataRecord("m.C", {"a": [1], "\ud800": {2}})),
    {DataRecord("m.C", {"a": (1,)}): 1},
    *(np.bool_(True), np.int8(-3), np.uint64(2**64 - 1), np.float16(1.5), np.float64("nan")),
    *(np.longdouble(1) / 3, np.complex64(1j), np.clongdouble(1j), np.str_("a\0"), np.str_("")),
    *(np.str_("\ud800"), np.bytes_(b"a\0"), np.void(b"abc")),
    np.array(5).view("M8")[()],
    *(np.datetime64("2020-01-01"), np.datetime64("NaT", "s"), np.timedelta64(5, ("s", 25))),
    array_of(NESTED)[1, 1],
]  # fmt: skip

ARRAYS = [
    *(array_of(dtype) for dtype in SIMPLE_DTYPES),
    *(array_of(dtype, shape) for dtype in (PADDED, NESTED) for shape in ((), (3, 4), (0, 2), (4000,))),
    *(array_of("f8", shape) for shape in ((), (0,), (3, 0, 2), (1, 1, 1), (40, 50, 60))),
    *(array_of("f8", order="F"), array_of("f8", (200, 300), order="F"), array_of("f8")[::2, ::-1]),
    *(
        array_of("f8", (3, 4, 5)).transpose(1, 2, 0),
        np.broadcast_to(np.arange(3), (2, 3)),
        array_of("U4")[:, ::2],
    ),
    np.zeros(2, {"names": ["a"], "formats": ["u1"], "offsets": [3], "itemsize": 9}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert is_same(round_trip(value), value)
    assert is_same(round_trip([value, {"k": (value,)}]), [value, {"k": (value,)}])


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}-{array.shape}")
def test_an_array_comes_back_as_it_was_and_can_be_written_to(array: Any) -> None:
    result = round_trip([array])[0]
    assert is_same(result, array)
    assert result.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert result.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
    assert result.flags.writeable


def test_utc_is_the_one_that_everybody_compares_with() -> None:
    assert round_trip(UTC) is UTC
    assert round_trip(BERLIN) is BERLIN


def test_an_array_is_built_on_its_buffer_and_keeps_it() -> None:
    encoded = encode_data(np.arange(5000.0))
    buffer = bytearray(encoded.buffers[0])
    array = decode_data(encoded.head, [memoryview(buffer)])
    assert np.shares_memory(array, np.frombuffer(buffer))
    array[0] = 7
    assert buffer[:8] == np.float64(7).tobytes()
    with pytest.raises(BufferError):
        buffer.clear()
    assert not decode_data(encoded.head, [memoryview(bytes(buffer))]).flags.writeable
    unaligned = memoryview(b"x" + buffer)[1:]
    assert decode_data(encoded.head, [unaligned]).sum() == array.sum()


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary()
    | st.complex_numbers() | st.decimals(allow_nan=False) | st.dates() | st.timedeltas() | st.uuids()
    | st.datetimes(timezones=st.none() | st.timezones())
)  # fmt: skip
KEYS = st.recursive(
    SCALARS, lambda keys: st.lists(keys, max_size=3).map(tuple) | st.frozensets(keys, max_size=3)
)
TREES = st.recursive(
    KEYS,
    lambda trees: (
        st.lists(trees, max_size=4)
        | st.lists(trees, max_size=3).map(tuple)
        | st.dictionaries(KEYS, trees, max_size=4)
        | st.dictionaries(st.text(max_size=3), trees, max_size=3).map(
            lambda fields: DataRecord("m.C", fields)
        )
    ),
    max_leaves=20,
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@given(TREES)
@settings(max_examples=200, deadline=None)
def test_any_value_comes_back_as_it_was(value: object) -> None:
    assert is_same(round_trip(value), value)


@pytest.mark.parametrize(
    "value",
    [set(range(200_000)), {n * 1000: str(n) for n in range(200_000)}, {(n, -n) for n in range(100_000)},
     {n / 7 for n in range(100_000)}, {str(n): n for n in range(100_000)}, {-1, -2, 1 << 61, 2}],
    ids=["ints", "dict", "tuples", "floats", "texts", "some that collide"],
)  # fmt: skip
def test_s16_large_honest_sets_and_dicts_come_back(value: object) -> None:
    assert round_trip(value) == value


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ([1, 2, 3], {"max_count": 2}),
        ([[], [], []], {"max_count": 2}),
        ([[[1]]], {"max_depth": 2}),
        ([[[1j]]], {"max_depth": 3}),
    ],
)
def test_limits_hold_in_the_driver(value: object, limits: dict[str, Any]) -> None:
    encoded = encode_data(value)
    with pytest.raises(ValueNotReadableError, match=f"{next(iter(limits.values()))}"):
        decode_data(encoded.head, encoded.buffers, **limits)


def test_an_array_without_numpy_is_a_clear_error() -> None:
    head = encode_data(np.arange(3)).head
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from gigaexec.wire.data.decoder import decode_data\n"
        f"decode_data({head!r}, [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (
        "ValueNotReadableError: the result cannot be decoded: the value contains numpy arrays" in done.stderr
    )
    assert "Install numpy" in done.stderr
