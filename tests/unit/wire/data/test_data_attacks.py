"""Hostile bytes: decoding them raises one kind of error, quickly and without side effects."""

from __future__ import annotations

import datetime
import decimal
import pickle
import random
import sys
import time
import zoneinfo
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from gigaexec.errors import ValueNotReadableError
from gigaexec.untrusted.json_text import safe_repr
from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.decoder import decode_data
from gigaexec.wire.data.encoder import encode_data
from gigaexec.wire.data.hashing import HashingBudget
from gigaexec.wire.data.record import DataRecord

# Ints that all have the hash 0, so they collide in a set.
COLLIDING_INTS = [n * ((1 << 61) - 1) for n in range(9, 20_009)]


def head_of(leaves: list[Any], *ops: int, raw: bytes = b"") -> bytes:
    return msgspec.msgpack.encode((leaves, b"".join(op.to_bytes(4, sys.byteorder) for op in ops), raw))


def op(code: int, number: int = 0) -> int:
    return code | number << fmt.CODE_BITS


def flat(code: int, *leaves: Any) -> bytes:
    """Return a head with one op that builds an object from `leaves`."""
    return head_of(list(leaves), op(code, len(leaves)))


def array_head(*dtype: Any, shape: tuple[int, ...] = (1,), raw: bytes = bytes(8), order: Any = "C") -> bytes:
    leaves = [order]
    ops = [op(fmt.OPEN), op(fmt.LEAVES, 1), op(fmt.BYTES, len(raw))]
    for part in (len(shape), *shape, *dtype):
        if type(part) is int and not -(2**63) <= part < 2**64:
            size = part.bit_length() // 8 + 1
            raw += part.to_bytes(size, "little", signed=True)
            ops += [op(fmt.OPEN), op(fmt.BYTES, size), op(fmt.CLOSE, fmt.BIG_INT)]
        else:
            leaves.append(part)
            ops.append(op(fmt.LEAVES, 1))
    return head_of(leaves, *ops, op(fmt.CLOSE, fmt.ARRAY), raw=raw)


def structure(itemsize: int, *fields: tuple[str, int, str], is_aligned: Any = False) -> tuple[Any, ...]:
    return (fmt.STRUCTURE, itemsize, is_aligned, len(fields), *(part for field in fields for part in field))


IN_A_FIELD = (fmt.STRUCTURE, 8, False, 1, "a", 0)
NESTED_SUBARRAYS = (fmt.SUBARRAY, 1, 1) * 100_000
HUGE = 2**64 - 1
# Multiplying two of these ints takes 5 s and holds the GIL.
MILLIONS_OF_DIGITS = (1 << 16_000_000) - 1

ATTACKS = {
    "nothing": b"",
    "no array": b"\xc0",
    "one array in place of three": b"\x91\x90",
    "four in place of three": msgspec.msgpack.encode(([], b"", b"", b"")),
    "more after the end": head_of([1], op(fmt.LEAVES, 1)) + b"x",
    "no value": head_of([]),
    "two values": head_of([1, 2], op(fmt.LEAVES, 2)),
    "a leaf left over": head_of([1, 2], op(fmt.LEAVES, 1)),
    "fewer leaves than said": head_of([1], op(fmt.LIST, 2)),
    "raw bytes left over": head_of([], op(fmt.LIST), raw=b"x"),
    "never closed": head_of([], op(fmt.OPEN), op(fmt.LIST)),
    "closed twice": head_of([], op(fmt.OPEN), op(fmt.CLOSE, fmt.LIST), op(fmt.CLOSE, fmt.LIST)),
    "ops cut off": msgspec.msgpack.encode(([1], b"123", b"")),
    "an op that there is not": head_of([], op(63)),
    "closed with a code beyond the table": head_of([], op(fmt.OPEN), op(fmt.CLOSE, 2**25)),
    "a list of 4 billion leaves": b"\x93\xdd\xff\xff\xff\xff",
    "a text of 4 GB": b"\x93\x91\xdb\xff\xff\xff\xff",
    "a nested array": msgspec.msgpack.encode(([[1]], b"", b"")),
    "a million nested arrays": b"\x93" + b"\x91" * 10**6,
    "a map": msgspec.msgpack.encode(([{1: 2}], b"", b"")),
    "an extension": b"\x93\x91\xd4\x05a\xc4\x00\xc4\x00",
    "a timestamp": b"\x93\x91\xd6\xff\x00\x00\x00\x00\xc4\x00\xc4\x00",
    "no UTF-8": b"\x93\x91\xa1\xff\xc4\x00\xc4\x00",
    "deep lists": head_of([], *[op(fmt.OPEN)] * 10**5),
    "a list key": head_of([1], op(fmt.OPEN), op(fmt.LIST), op(fmt.LEAVES, 1), op(fmt.CLOSE, fmt.DICT)),
    "a set of lists": head_of([], op(fmt.OPEN), op(fmt.LIST), op(fmt.CLOSE, fmt.SET)),
    "a key twice": flat(fmt.DICT, "a", "a", 1, 2),
    "a key without a value": flat(fmt.DICT, "a"),
    "equal members of a set": flat(fmt.SET, 1, 1.0),
    "a record without a name": flat(fmt.RECORD),
    "a record named by a number": flat(fmt.RECORD, 1),
    "a field named by a number": flat(fmt.RECORD, "m.C", 1, 2),
    "a field twice": flat(fmt.RECORD, "m.C", "a", "a", 1, 2),
    "a big int from a text": flat(fmt.BIG_INT, "x"),
    "a complex of texts": flat(fmt.COMPLEX, "1", "2"),
    "a bytearray of 8 EB": flat(fmt.BYTEARRAY, 2**63),
    "a negative buffer": flat(fmt.BYTEARRAY, -1),
    "a buffer that there is not": head_of([], op(fmt.LARGE_BYTES, 5)),
    "a date of floats": flat(fmt.DATE, 1.0, 1.0, 1.0),
    "a date that there is not": flat(fmt.DATE, 2023, 2, 29),
    "a year beyond an int": flat(fmt.DATE, HUGE, 1, 1),
    "a huge timedelta": flat(fmt.TIMEDELTA, HUGE, 0, 0),
    "a timezone of two days": flat(fmt.TIMEZONE, 2, 0, 0),
    "a text as tzinfo": flat(fmt.TIME, 1, 1, 1, 1, 0, "UTC"),
    "a time with fold 2": flat(fmt.TIME, 1, 1, 1, 1, 2, None),
    **{
        f"zone {key}": flat(fmt.ZONE_INFO, key)
        for key in ("../../etc/passwd", "/etc/passwd", "Europe", "", "No/Such", "a\0b", "Etc/../UTC", 1)
    },
    "a decimal that is none": flat(fmt.DECIMAL, "1; import os"),
    "a decimal with an impossible exponent": flat(fmt.DECIMAL, "1E+9999999999999999999999"),
    "half a uuid": flat(fmt.UUID, 1),
    "a negative uuid": flat(fmt.UUID, -1, 1),
    **{
        f"dtype {dtype!r}": array_head(dtype)
        for dtype in (
            *("object", "", None, 8, "O", "|O", "|O8", "|T16"),
            *("<T", "f8", "<f8,<f8", "(2,)<f8", "<f8\n", "|V0", "|S0", "<U0", "<f7"),
            *("<U1073741825", "|V9999999999", "<M8[999999999999s]", "<M8[__import__('os')]"),
            "<M8[s]//2",
        )
    },
    "an array without a dtype": array_head(),
    "more after a dtype": array_head("<f8", "<f8"),
    "another order": array_head("<f8", order="K"),
    "a negative dimension": array_head("<f8", shape=(-1, -1)),
    "dimensions that overflow to the size": array_head("|u1", shape=(2**32, 2**32, 8), raw=b""),
    "an empty array with a huge dimension": array_head("<f8", shape=(0, 2**62), raw=b""),
    "dimensions of millions of digits": array_head("|u1", shape=(MILLIONS_OF_DIGITS,) * 2),
    "a subarray with such dimensions": array_head(
        *IN_A_FIELD, fmt.SUBARRAY, 2, *[MILLIONS_OF_DIGITS] * 2, "<f8"
    ),
    "an item of such a size": array_head(fmt.STRUCTURE, MILLIONS_OF_DIGITS, False, 0, shape=(2**62,)),
    "a field at such an offset": array_head(*structure(8, ("a", MILLIONS_OF_DIGITS, "<u4"))),
    "as many fields": array_head(fmt.STRUCTURE, 8, False, MILLIONS_OF_DIGITS, "a", 0, "<u4"),
    "too many dimensions": array_head("<f8", shape=(1,) * 65),
    "a million dimensions": array_head("<f8", shape=(HUGE,) * 10**5),
    "too little content": array_head("<f8", shape=(2,)),
    "too much content": array_head("<f4", shape=(1,)),
    "a bool of 2": array_head("|b1", raw=b"\x02"),
    "a bool of 255 in a field": array_head(*structure(2, ("a", 0, "|u1"), ("b", 1, "|b1")), raw=b"\0\xff"),
    "a character beyond Unicode": array_head("<U1", raw=b"\0\0\x11\0"),
    "the same, big-endian": array_head(">U1", raw=b"\0\x11\0\0"),
    "an object field": array_head(*structure(8, ("a", 0, "|O"))),
    "overlapping fields": array_head(*structure(8, ("a", 0, "<u4"), ("b", 2, "<u4"))),
    "a field beyond the item": array_head(*structure(8, ("a", 4, "<u8"))),
    "a field before the item": array_head(*structure(8, ("a", -4, "<u4"))),
    "a field offset by 2**64 - 1": array_head(*structure(8, ("a", HUGE, "<u4"))),
    "an item of no bytes": array_head(*structure(0), shape=(2**62,), raw=b""),
    "an item of 2**63 bytes": array_head(*structure(2**63)),
    "a field name twice": array_head(*structure(8, ("a", 0, "<u4"), ("a", 4, "<u4"))),
    "fields that are not aligned": array_head(*structure(8, ("a", 1, "<u4"), is_aligned=True)),
    "a structure with a count of 2**64 - 1": array_head(fmt.STRUCTURE, 8, False, HUGE, "a", 0, "<u4"),
    "half a structure": array_head(fmt.STRUCTURE, 8),
    "a subarray as dtype": array_head(fmt.SUBARRAY, 1, 1, "<f8"),
    "a subarray of 2**64 items": array_head(*IN_A_FIELD, fmt.SUBARRAY, 2, 2**32, 2**32, "<f8"),
    "a subarray of negative size": array_head(*IN_A_FIELD, fmt.SUBARRAY, 1, -1, "<f8"),
    "deep subarrays": array_head(*IN_A_FIELD, *NESTED_SUBARRAYS, "<f8"),
    "a numpy int from a float": flat(fmt.NUMPY_SCALAR, 1.5, "<i8"),
    "a numpy int that is too large": flat(fmt.NUMPY_SCALAR, 2**63, "<i8"),
    "a numpy text from an int": flat(fmt.NUMPY_STR, 1),
}  # fmt: skip


@pytest.mark.parametrize("head", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_bytes_give_an_error_soon(head: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(ValueNotReadableError) as refusal:
        decode_data(head, [])
    assert time.thread_time() - began < 2
    assert len(str(refusal.value)) < 1000
    assert isinstance(pickle.loads(pickle.dumps(refusal.value)), ValueNotReadableError)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("deep lists", "nested deeper than 200 levels"),
        ("deep subarrays", "a dtype is nested deeper than 16 levels"),
        (
            "a field beyond the item",
            "fields of a structured dtype end at byte 12, but its item size is 8 bytes",
        ),
        ("overlapping fields", "one starts at byte 2, before the end of the previous one at byte 4"),
        ("half a structure", "the description of a dtype is incomplete"),
        ("a subarray as dtype", "expected a simple or structured dtype, got the dtype of a subarray"),
        ("a key twice", "a dict has 2 keys, but only 1 distinct ones"),
        ("equal members of a set", "a set has 2 keys, but only 1 distinct ones"),
        ("a field named by a number", "expected the type name and field names of a record as str, got int"),
        ("a big int from a text", r"expected the items of a large int to be \(bytes\), got \(str\)"),
        ("a negative buffer", "buffer -1 is missing: the value has 0 buffers"),
        ("an empty array with a huge dimension", r"an empty array has shape \(0, 4611686018427387904\)"),
        ("zone Etc/../UTC", "expected a time zone key .*, got 'Etc/../UTC'"),
    ],
)
def test_what_libraries_would_refuse_too_is_refused_before_they_see_it(attack: str, message: str) -> None:
    with pytest.raises(ValueNotReadableError, match=message):
        decode_data(ATTACKS[attack], [])


def hostile_set(members: list[Any]) -> tuple[bytes, list[memoryview]]:
    """Encode `members` as a set, without building the set in Python, which hash collisions make slow."""
    encoded = encode_data(members)
    head = encoded.head
    last_op = head.rindex(op(fmt.CLOSE, fmt.LIST).to_bytes(4, sys.byteorder))
    close_set = op(fmt.CLOSE, fmt.SET).to_bytes(4, sys.byteorder)
    return head[:last_op] + close_set + head[last_op + 4 :], encoded.buffers


def nested_frozensets(levels: int, size: int) -> bytes:
    """Return a head of nested frozensets; with an even `size` all of them have the same hash."""
    numbers = random.Random(1)
    raw, ops = bytearray(), []

    def emit(level: int) -> None:
        ops.append(op(fmt.OPEN))
        if level == 0:
            ops.append(op(fmt.BYTES, 10))
            raw.extend(numbers.choice(COLLIDING_INTS[2000:2100]).to_bytes(10, "little"))
        else:
            for _ in range(size):
                emit(level - 1)
        ops.append(op(fmt.CLOSE, fmt.FROZENSET if level else fmt.BIG_INT))

    emit(levels)
    return head_of([], *ops, raw=bytes(raw))


@pytest.mark.parametrize(("levels", "size"), [(3, 24), (4, 12), (8, 4), (15, 2)])
def test_s16_nested_frozensets_that_collide_cost_a_bounded_time(levels: int, size: int) -> None:
    began = time.thread_time()
    try:
        decode_data(nested_frozensets(levels, size), [])
    except ValueNotReadableError:
        pass
    assert time.thread_time() - began < 10


@pytest.mark.parametrize(
    "members",
    [COLLIDING_INTS, [(n, 1) for n in COLLIDING_INTS], [(*range(200), n) for n in COLLIDING_INTS[:3000]]],
    ids=["ints", "tuples", "long tuples"],
)
def test_s16_colliding_keys_are_refused_before_they_cost_seconds(members: list[Any]) -> None:
    head, buffers = hostile_set(members)
    began = time.thread_time()
    with pytest.raises(ValueNotReadableError, match="keys takes too long, because their hashes collide"):
        decode_data(head, buffers)
    assert time.thread_time() - began < 15


def test_s16_a_few_large_keys_are_measured_like_many_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HashingBudget, "_BASE_S", 0.001)
    with pytest.raises(ValueNotReadableError, match="keys takes too long, because their hashes collide"):
        decode_data(*hostile_set([n * ((1 << 61) - 1) for n in range(1 << 400_000, (1 << 400_000) + 60)]))


def test_s16_a_decimal_and_a_large_int_are_not_compared() -> None:
    large = (1 << 8_000_000) - 1
    members = [large, decimal.Decimal(large % ((1 << 61) - 1))]
    with pytest.raises(ValueNotReadableError, match="which take too long to compare"):
        decode_data(*hostile_set(members))
    encoded = encode_data({"n": large, "d": members[1]})
    assert decode_data(encoded.head, encoded.buffers) == {"n": large, "d": members[1]}


def test_buffers_are_each_used_once() -> None:
    encoded = encode_data([b"x" * 20_000, bytearray(20_000)])
    with pytest.raises(ValueNotReadableError, match="buffer 1 is missing"):
        decode_data(encoded.head, encoded.buffers[:1])
    with pytest.raises(ValueNotReadableError, match="a buffer is not used by any value"):
        decode_data(encoded.head, [*encoded.buffers, memoryview(b"")])
    with pytest.raises(ValueNotReadableError, match="buffer 0 is used twice"):
        decode_data(
            head_of([0, 0], *[op(fmt.OPEN), *[op(fmt.BYTEARRAY, 1)] * 2], op(fmt.CLOSE, fmt.LIST)),
            [memoryview(b"x")],
        )


EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
INNER = np.dtype([("a", "u1"), ("b", ">f8"), ("c", "?")], align=True)
NESTED = np.dtype([("p", INNER), ("q", "U3", (2, 2)), ("t", "M8[ns]")])
RICH_VALUE = [
    *(
        {"a": 1, (2, "b"): {3}},
        2**70,
        1j,
        "\ud800",
        decimal.Decimal("1.5"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
    ),
    *(datetime.datetime(2020, 1, 1, tzinfo=EAST), DataRecord("m.C", {"x": bytearray(b"1")})),
    *(np.zeros(3, NESTED), np.str_("x"), np.zeros(3, "M8[ns]")),
]
RICH_HEAD = encode_data(RICH_VALUE).head


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"\x93" + data))
@settings(max_examples=300, deadline=None)
def test_random_bytes_give_a_value_or_the_error(data: bytes) -> None:
    try:
        decode_data(data, [])
    except ValueNotReadableError:
        pass


@given(st.lists(st.tuples(st.integers(0, len(RICH_HEAD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=500, deadline=None)
def test_changed_bytes_give_a_value_or_the_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(RICH_HEAD)
    for place, byte in changes:
        data[place] = byte
    try:
        value = decode_data(bytes(data), [])
    except ValueNotReadableError:
        return
    safe_repr(value)


SIZES = st.sampled_from([-1, 0, 1, 2, 8, 2**31, 2**63 - 1, 2**63, HUGE, MILLIONS_OF_DIGITS]) | st.integers()
DTYPES = st.recursive(
    st.sampled_from(["<f8", "|u1", "|b1", "<U1", "<M8", "<m8", "<M8[as]", "<f16", "|V3", "|O"]).map(
        lambda text: (text,)
    ),
    lambda dtypes: (
        st.tuples(SIZES, dtypes).map(lambda parts: (fmt.SUBARRAY, 1, parts[0], *parts[1]))
        | st.tuples(SIZES, SIZES, SIZES, dtypes).map(
            lambda parts: (fmt.STRUCTURE, parts[0], False, parts[1], "a", parts[2], *parts[3])
        )
        | st.tuples(SIZES, dtypes).map(lambda parts: (fmt.STRUCTURE, 8, False, 1, "a", parts[0], *parts[1]))
    ),
    max_leaves=3,
)


@given(DTYPES, st.lists(SIZES, max_size=3), st.sampled_from([0, 1, 2, 8, 16]))
@example(("<M8",), [1], 8)
@example(("|u1",), [MILLIONS_OF_DIGITS] * 2, 1)
@settings(max_examples=300, deadline=None)
def test_arrays_of_any_size_and_dtype_give_a_value_that_can_be_shown_or_the_error(
    dtype: tuple[Any, ...], shape: list[int], content_bytes: int
) -> None:
    head = array_head(*dtype, shape=tuple(shape), raw=b"\1" * content_bytes)
    began = time.thread_time()
    try:
        safe_repr(decode_data(head, []))
    except ValueNotReadableError:
        pass
    assert time.thread_time() - began < 2
