"""R104: decoding never keeps the event loop, or the GIL, for more than 5 ms."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import pickle
import time
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gigaexec.calls import ValueLayout
from gigaexec.errors import ValueNotReadableError
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.data.decoder import QUICK_HEAD_BYTES, decode_data
from gigaexec.wire.data.encoder import encode_data
from gigaexec.wire.gil_pauses import CHUNK_BYTES, PausingReader
from gigaexec.wire.values_in import NOT_DECODED, ValueBytes

# Ints that are equal modulo this prime have the same hash.
PRIME = 2**61 - 1

LEAVES = [None, True, 0, -5, 2**64 - 1, 1.5, "", "text", "x" * 60_000]
SMALL = [[1, 2.5], {"a": (1, None)}, {1, 2}, b"raw", 2**200, "\ud800", np.float64(1.5), np.arange(4)]


def value_bytes(value: Any, name: str = "data") -> ValueBytes:
    contents = encode_data(value).head if name == "data" else pickle.dumps(value)
    return ValueBytes(ValueLayout(name, len(contents), (), len(contents)), contents)


@pytest.mark.parametrize("value", LEAVES + SMALL, ids=lambda value: f"{value!r:.30}")
def test_a_small_plain_value_is_decoded_at_once(value: Any) -> None:
    decoded = value_bytes(value).decode_at_once()
    assert type(decoded) is type(value)
    assert repr(decoded) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        value_bytes(1, "pickle"),
        value_bytes(list(range(QUICK_HEAD_BYTES))),
        value_bytes({number * PRIME: 0 for number in range(1, 6000)}),
        value_bytes([zoneinfo.ZoneInfo("Europe/Berlin")]),
        ValueBytes(ValueLayout("data", 2, (), 2), b"\x93\x91"),
        ValueBytes(ValueLayout("data", 4, (), 4), b"\x93\x91\xa1\xff"),
        ValueBytes(ValueLayout("other", 1, (), 1), b"1"),
    ],
    ids=["a pickle", "a long list", "colliding keys", "a time zone", "a cut head", "no utf-8", "unknown"],
)
def test_other_values_are_left_to_a_thread(value: ValueBytes) -> None:
    assert value.decode_at_once() is NOT_DECODED


def full_of(item: Callable[[int], Any]) -> Any:
    """Return the longest list of items whose head is small enough to be decoded at once."""
    count = 1
    while len(encode_data([item(index) for index in range(count + count // 8 + 1)]).head) <= QUICK_HEAD_BYTES:
        count += count // 8 + 1
    return [item(index) for index in range(count)]


SLOWEST: dict[str, Callable[[int], Any]] = {
    "lists": lambda _: [],
    "nested lists": lambda _: [[[[[]]]]],
    "sets": lambda index: {index},
    "tuples as keys": lambda index: {(index, ()): ((),)},
    "datetimes": lambda index: datetime.datetime(2024, 1, 1, 0, 0, index % 60),
    "decimals": lambda index: decimal.Decimal(index),
    "uuids": lambda index: uuid.UUID(int=index),
    "numpy scalars": lambda index: np.int32(index),
    "arrays": lambda _: np.zeros(0, "u1"),
    "structured arrays": lambda index: np.zeros(1, [("a", "u1"), ("b", "u1"), (f"c{index}", "u1")]),
    "large ints": lambda index: 2**70 + index,
}


@pytest.mark.parametrize("item", SLOWEST.values(), ids=SLOWEST)
def test_the_slowest_small_values_take_less_than_5_ms(item: Callable[[int], Any]) -> None:
    value = value_bytes(full_of(item))
    assert value.decode_at_once() is not NOT_DECODED  # imports what is needed
    least_s = min(seconds_of(value.decode_at_once) for _ in range(5))
    assert least_s < 0.005


def test_small_values_with_colliding_keys_take_less_than_5_ms() -> None:
    for count in (100, 300, 600, 900):
        value = value_bytes({number * PRIME: 0 for number in range(1, count)})
        assert min(seconds_of(value.decode_at_once) for _ in range(5)) < 0.005


def seconds_of(function: Callable[[], object]) -> float:
    started_s = time.thread_time()
    function()
    return time.thread_time() - started_s


class Watch:
    """Measures the CPU time between two pauses."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last_s = time.thread_time()

    def __call__(self) -> None:
        now_s = time.thread_time()
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = time.thread_time()


LARGE: dict[str, Any] = {
    "floats": [float(number) for number in range(300_000)],
    "texts": [str(number) for number in range(200_000)],
    "dicts": [{"name": index, "score": 1.5} for index in range(20_000)],
    "a dict": {number: str(number) for number in range(100_000)},
    "colliding keys": {number * PRIME: 0 for number in range(1, 9000)},
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_large_values_are_decoded_in_steps_of_milliseconds(value: Any) -> None:
    encoded = encode_data(value, is_paged=True)
    longest = []
    for _ in range(3):
        watch = Watch()
        # A slow machine refuses the colliding keys.
        with contextlib.suppress(ValueNotReadableError):
            decode_data(encoded.head, [bytearray(each) for each in encoded.buffers], pause=watch)
        watch()
        longest.append(watch.longest_s)
    assert min(longest) < 0.02, "without steps, each of these values takes 30 to 200 ms"


def test_a_value_of_many_pages_keeps_its_order() -> None:
    value = [*range(50_000), (2**80, "\ud800"), *map(str, range(50_000)), {"a": list(range(40_000))}]
    encoded = encode_data(value, is_paged=True)
    assert len(encoded.buffers) > 5
    assert decode_data(encoded.head, encoded.buffers) == value
    with pytest.raises(ValueNotReadableError, match="leaves; the limit is 100000"):
        decode_data(encoded.head, encoded.buffers, max_count=100_000)
    with pytest.raises(ValueNotReadableError, match=r"buffer \d+ is missing"):
        decode_data(encoded.head, encoded.buffers[:-1])


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_read_in_chunks(protocol: int) -> None:
    value = [
        list(range(100_000)),
        "x" * 500_000,
        b"y" * 300_000,
        bytearray(b"z" * 300_000),
        {"a": 1.5},
        2**70,
    ]
    contents = pickle.dumps(value, protocol=protocol)
    assert len(contents) > CHUNK_BYTES
    assert pickle.load(PausingReader(memoryview(contents))) == value
    layout = ValueLayout("pickle", len(contents), (), len(contents))
    assert ValueBytes(layout, contents).decode(ResultFormat.PICKLE) == value
    with pytest.raises(ValueNotReadableError, match="truncated or damaged"):
        ValueBytes(layout, contents[:-1]).decode(ResultFormat.PICKLE)
