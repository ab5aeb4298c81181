"""Encoding of plain data: rejected values and their paths, limits, and instances as records."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import fractions
import io
import pathlib
import subprocess
import sys
import threading
import time
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pytest

from gigaexec.wire.data.decoder import decode_data
from gigaexec.wire.data.encoder import ValueNotDataError, encode_data
from gigaexec.wire.data.format import INLINE_CONTENT_BYTES
from gigaexec.wire.data.record import DataRecord


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Layer:
    size: int
    name: str = "dense"
    kind: int = dataclasses.field(default=7, init=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int


class Base:
    __slots__ = ("first", "never_set")

    def __init__(self) -> None:
        self.first = 1


class Derived(Base):
    def __init__(self) -> None:
        super().__init__()
        self.second = [2]

    @property
    def computed(self) -> int:
        raise LookupError("not to be read")


class MyDict(dict[str, int]):
    pass


class Unhashable:
    def __init__(self) -> None:
        self.items = [1]


class Identified:
    pass


class Identifier(uuid.UUID):
    pass


T = TypeVar("T")


class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


def nested_dtype(levels: int) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype("u1")
    for _ in range(levels):
        dtype = np.dtype([("a", dtype)])
    return dtype


class Raises:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise LookupError("mine")


def round_trip(value: Any, **limits: Any) -> Any:
    encoded = encode_data(value, **limits)
    return decode_data(encoded.head, encoded.buffers, **limits)


def record(class_name: str, /, **fields: Any) -> DataRecord:
    return DataRecord(f"{__name__}.{class_name}", fields)


def with_extra(layer: Layer) -> Layer:
    layer.extra = True  # type: ignore[attr-defined]
    return layer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, record("Colour", name="RED", value=1)),
        (Level.HIGH, record("Level", name="HIGH", value=3)),
        (Point(1, 2), record("Point", x=1, y=2)),
        (with_extra(Layer(5)), record("Layer", size=5, name="dense", kind=7, extra=True)),
        (Frozen(1), record("Frozen", a=1)),
        (Derived(), record("Derived", first=1, second=[2])),
        (Box[int](1), record("Box", item=1)),
        (argparse.Namespace(a=1), DataRecord("argparse.Namespace", {"a": 1})),
        (types.SimpleNamespace(a=1), DataRecord("types.SimpleNamespace", {"a": 1})),
        (
            {Colour.RED: 1, Point(1, 2): 2},
            {record("Colour", name="RED", value=1): 1, record("Point", x=1, y=2): 2},
        ),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_instances_become_records(value: object, expected: object) -> None:
    result = round_trip(value)
    assert result == expected
    assert type(result) is type(expected)
    if isinstance(result, DataRecord) and isinstance(expected, DataRecord):
        assert list(result.fields) == list(expected.fields)


def cycle_in(make: Callable[[list[Any]], Any]) -> Any:
    inner: list[Any] = []
    inner.append(make(inner))
    return {"a": inner}


def holding(name: str, value: Any) -> Any:
    return types.SimpleNamespace(**{name: value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            print,
            r"^result is a builtin_function_or_method, which the data format cannot encode\."
            r" .*results=\"pickle\"",
        ),
        (
            {"model": holding("layers", [1, 2, 3, len])},
            r"^result\['model'\]\.layers\[3\] is a builtin_function",
        ),
        ([1, (2, {3: {"x": [lambda: 1]}})], r"^result\[1\]\[1\]\[3\]\['x'\]\[0\] is a function"),
        ([0, {1, sys}], r"^result\[1\] has|^result\[1\].* is a module"),
        ({"a": {len: 1}}, r"^result\['a'\]\.keys\(\)\[0\] is a builtin_function"),
        ([{len}], r"^result\[0\]\{\.\.\.\} is a builtin_function"),
        (
            {"a": {Identified(), Identified()}},
            r"^result\['a'\] has two keys of type .*\.Identified that differ",
        ),
        (
            [dict.fromkeys([(1, Identified()), (1, Identified())])],
            r"^result\[0\] has two keys of type builtins\.tuple",
        ),
        (
            {"a": {(1, Unhashable())}},
            r"^result\['a'\] has a key of type builtins\.tuple that cannot be hashed in the driver",
        ),
        (
            {"a": [np.empty((0, 1 << 34))]},
            r"^result\['a'\]\[0\] is an empty array of shape \(0, 17179869184\)",
        ),
        ([np.zeros(1, nested_dtype(17))], r"^result\[0\] is of a dtype with more than 16 levels"),
        (
            {"a": fractions.Fraction(1, 3)},
            r"^result\['a'\] is a fractions\.Fraction, a class of the standard library",
        ),
        ([pathlib.PurePosixPath("a")], r"^result\[0\] is a pathlib\.PurePosixPath, a class of the standard"),
        ([Identifier(int=1)], r"^result\[0\] is a .*\.Identifier, a subclass of uuid\.UUID, which"),
        ({(1, print): 2}, r"^result\.keys\(\)\[0\]\[1\] is a builtin_function"),
        (Layer, r"^result is the class .*\.Layer, which"),
        ((n for n in "ab"), r"^result is a generator, which"),
        ([range(3)], r"^result\[0\] is a range, which"),
        (object(), r"^result is a object, which"),
        (holding("lock", threading.Lock()), r"^result\.lock is a _thread\.lock"),
        (io.FileIO(1, closefd=False), r"^result is a _io\.FileIO"),
        (MyDict(), r"^result is a .*\.MyDict, a subclass of builtins\.dict"),
        (LookupError("x"), r"^result is a LookupError, which"),
        (time.gmtime(0), r"^result is a time\.struct_time"),
        (collections.deque([1]), r"^result is a collections\.deque"),
        ([memoryview(b"x")], r"^result\[0\] is a memoryview"),
        ({"a": Raises()}, r"^result\['a'\] raised LookupError when it was read"),
        (
            {Unhashable(): 1},
            r"^result has a key of type .*\.Unhashable that cannot be hashed in the driver, because",
        ),
        (
            datetime.datetime(2020, 1, 1, tzinfo=type("Tz", (datetime.tzinfo,), {})()),
            r"^result has a tzinfo of type",
        ),
        (
            cycle_in(lambda inner: inner),
            r"^result\['a'\]\[0\] is result\['a'\] itself: .* a value that contains itself",
        ),
        (
            cycle_in(lambda inner: {"b": (1, inner)}),
            r"^result\['a'\]\[0\]\['b'\]\[1\] is result\['a'\] itself",
        ),
        ([np.array([1, None])], r"^result\[0\] is of dtype object, which contains Python objects"),
        (np.zeros((1, 1)).view(np.matrix), r"^result is a numpy\.matrix, a subclass of numpy\.ndarray"),
        (np.ma.masked_array([1]), r"^result is a numpy\.ma.*MaskedArray, a subclass"),
        (np.zeros(2, "V0"), r"^result is of dtype .*whose items take no bytes"),
        (
            np.zeros(2, {"names": ["a", "b"], "formats": ["u2", "u1"], "offsets": [0, 1]}),
            r"whose fields overlap",
        ),
        (np.zeros(2, [(("title", "a"), "u2")]), r"which has field titles"),
        (
            np.array(["a"], getattr(np, "dtypes", np).StringDType()) if hasattr(np, "dtypes") else print,
            r"^result is ",
        ),
    ],
)
def test_what_is_not_data_is_named_with_its_place(value: object, message: str) -> None:
    with pytest.raises(ValueNotDataError, match=message):
        encode_data(value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("max_depth", [1, 200, 50_000])
def test_depth_is_limited_and_costs_no_recursion(max_depth: int) -> None:
    value, levels = round_trip(nested(max_depth), max_depth=max_depth), 0
    while isinstance(value, list):
        (value,), levels = value, levels + 1
    assert levels == max_depth
    with pytest.raises(ValueNotDataError, match=rf"\[0\] is nested deeper than {max_depth} levels"):
        encode_data(nested(max_depth + 1), max_depth=max_depth)


def test_records_at_the_limit_of_depth_can_be_shown_compared_and_hashed() -> None:
    def chain() -> Any:
        value: Any = 1
        for _ in range(200):
            value = types.SimpleNamespace(a=value)
        return round_trip(value)

    first, second = chain(), chain()
    assert repr(first).count("SimpleNamespace") == 200
    assert first == second
    assert hash(first) == hash(second)


def test_the_number_of_items_is_limited_where_shared_lists_multiply_it() -> None:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueNotDataError, match=r"is where the value exceeds 1000 items"):
        encode_data(value, max_count=1000)
    assert round_trip([0.0] * 1000, max_count=1000) == [0.0] * 1000


@pytest.mark.parametrize(
    "value",
    [b"x" * 100_000, "x" * 100_000, np.broadcast_to(np.float64(1), (10**6, 10**6)), bytearray(100_000)],
)
def test_bytes_are_limited(value: object) -> None:
    with pytest.raises(
        ValueNotDataError, match=r"^result: at least \d+ bytes in the data format, limit 90000 bytes"
    ):
        encode_data(value, max_bytes=90_000)


def test_large_contents_are_not_copied() -> None:
    array = np.arange(INLINE_CONTENT_BYTES)
    encoded = encode_data({"a": array, "b": b"y" * (INLINE_CONTENT_BYTES + 1)})
    assert len(encoded.head) < 200
    assert np.shares_memory(np.frombuffer(encoded.buffers[0]), array)
    assert [buffer.nbytes for buffer in encoded.buffers] == [array.nbytes, INLINE_CONTENT_BYTES + 1]
    assert encoded.size_bytes == len(encoded.head) + array.nbytes + INLINE_CONTENT_BYTES + 1


def test_an_object_that_occurs_twice_comes_back_as_two() -> None:
    shared = [1]
    first, second = round_trip([shared, shared])
    assert first == second
    assert first is not second


def test_a_zone_without_a_key_is_refused() -> None:
    with open(f"{zoneinfo.TZPATH[0]}/UTC", "rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file)
    with pytest.raises(ValueNotDataError, match=r"^result\[0\] is a ZoneInfo without a key"):
        encode_data([zone])


def test_keys_that_are_different_records_come_back() -> None:
    value = {(1, Point(1, 2)): 1, (1, Point(1, 3)): 2, Identified(): 3}
    assert round_trip(value) == {
        (1, record("Point", x=1, y=2)): 1,
        (1, record("Point", x=1, y=3)): 2,
        record("Identified"): 3,
    }


def test_what_the_encoder_takes_of_empty_and_nested_arrays_the_decoder_takes_too() -> None:
    assert round_trip(np.empty((0, 1 << 29))).shape == (0, 1 << 29)
    assert round_trip(np.zeros(1, nested_dtype(16))).dtype == nested_dtype(16)


def test_numpy_is_not_imported() -> None:
    code = (
        "import sys; from gigaexec.wire.data.encoder import encode_data; "
        "encode_data([1, {'a': (2.5, b'x')}, 1j]); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
