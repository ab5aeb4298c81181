"""A return value as data: no pickle, no code. The format is drawn in data_format.py.

Runs in the process of the program, which may have changed anything here: the decoder trusts none of it.
"""

from __future__ import annotations

import datetime
import decimal
import reprlib
import uuid
import zoneinfo
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import length_hint
from typing import Any, NamedTuple

import msgspec

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.arrays_out import (
    UnfitArrayError,
    contiguous_content,
    describe_array,
    is_numpy,
    scalar_parts,
)
from gigaexec.wire.data.instances import NotARecordError, fields_of, type_name_of
from gigaexec.wire.data.record import DataRecord

_HOW_TO_ALLOW = (
    'Return plain data in its place, or allow pickles with SandboxPolicy(results="pickle"): '
    "then results may run code in the driver's process."
)

_TOO_MANY = (
    "is where the value exceeds {} items. An object that occurs twice counts twice; "
    "a numpy array counts as one"
)

# What the head holds as it is.
_LEAF_TYPES = frozenset({type(None), bool, int, float, str})
_MESSAGEPACK_INTS = range(-(1 << 63), 1 << 64)

_ENCODER = msgspec.msgpack.Encoder()

# A code, and the items that it is made from.
_Parts = tuple[int, Sequence[Any]]
_TakeApart = Callable[[Any, "_Encoding"], _Parts]


class ValueNotDataError(Exception):
    """The value is not data, or too much of it; the message says where, why and what to do."""


@dataclass(frozen=True, slots=True)
class EncodedData:
    """A value as data.

    Args:
        head: MessagePack, see data_format.py.
        buffers: Contents of arrays and large bytes, in order, each contiguous. They refer to the value's
            own memory where that is possible: send them before the value changes.
    """

    head: bytes
    buffers: list[memoryview]

    @property
    def size_bytes(self) -> int:
        """Bytes of the head and the buffers together."""
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)


def encode_data(
    value: Any,
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
    max_bytes: int | None = None,
) -> EncodedData:
    """Encode a value that consists of data.

    These come back with their exact type: None, bool, int of any size, float, complex, str, bytes,
    bytearray, list, tuple, set, frozenset, dict, date, time, datetime, timedelta, timezone, ZoneInfo,
    Decimal, UUID, DataRecord, numpy scalars and arrays without objects.

    These come back as a DataRecord, named `module.QualName`:

    - an enum member: fields `name` and `value`;
    - a named tuple: its `_fields`;
    - a dataclass instance: its fields in the order of the class, then other attributes it has;
    - an instance of another class written in Python: what its `__slots__` hold, base classes first, then
      its `__dict__`. Attributes without a value are left out. Properties are not computed. Instances of the
      standard library's own classes are refused, but for SimpleNamespace and argparse.Namespace.

    OrderedDict, defaultdict and Counter come back as dict, numpy.memmap as an array. Instances of other
    subclasses of built-in types, and of array classes, are refused, not silently turned into less.
    An object that occurs twice comes back as two.

    Args:
        value: The value.
        max_depth: Levels of nesting. Each thing that is not None, bool, int, float, str or bytes is one.
        max_count: Leaves, and containers, each. At most `LARGEST_MAX_COUNT`.
        max_bytes: Of the head and the buffers together; None for no limit.

    Raises:
        ValueNotDataError: Something in it is not data, or refers to itself, or a limit is exceeded. The
            message holds its place, as in `result['model'].layers[3]`.
    """
    try:
        return _Encoding(max_depth, max_count, max_bytes).encode(value)
    except _UnfitLeafError:
        # Rare enough that all others do without a look at each int and each text.
        return _Encoding(max_depth, max_count, max_bytes, is_careful=True).encode(value)


class _UnfitLeafError(Exception):
    """An int or a text is none that MessagePack can hold."""


class _RefusedError(Exception):
    """A value cannot be encoded; its place is not yet known."""


@dataclass(frozen=True, slots=True)
class _BigInt:
    value: int


@dataclass(frozen=True, slots=True)
class _SurrogateStr:
    value: str


class _Open(NamedTuple):
    """A container whose items are being encoded."""

    container: Any
    code: int
    items: Sequence[Any]
    rest: Iterator[Any]


class _Encoding:
    """One value on its way."""

    def __init__(
        self, max_depth: int, max_count: int, max_bytes: int | None, *, is_careful: bool = False
    ) -> None:
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self._max_bytes = max_bytes
        self._is_careful = is_careful
        self._leaves: list[Any] = []
        self._ops = array("I")
        self._raw = bytearray()
        self._buffers: list[memoryview] = []
        self._buffer_bytes = 0
        # The innermost last. The first holds the value itself.
        self._open: list[_Open] = []
        # Types of the program, by how to take them apart.
        self._learned: dict[type, _TakeApart] = {}

    def encode(self, value: Any) -> EncodedData:
        items: Sequence[Any] = (value,)
        if self._is_careful:
            items = _with_unfit_marked(items)
        self._open.append(_Open(None, fmt.LIST, items, iter(items)))
        try:
            self._walk()
        except _RefusedError as refusal:
            raise ValueNotDataError(f"{self._place()} {refusal}") from None
        except ValueNotDataError:
            raise
        except Exception as error:
            # Attributes are read and keys are hashed: code of the program runs, and may raise anything.
            raise ValueNotDataError(
                f"{self._place()} raised {type(error).__name__} when it was read. {_HOW_TO_ALLOW}"
            ) from error
        return self._finish()

    def _finish(self) -> EncodedData:
        try:
            head = _ENCODER.encode((self._leaves, self._ops.tobytes(), self._raw))
        except (OverflowError, UnicodeEncodeError) as error:
            raise _UnfitLeafError from error
        encoded = EncodedData(head, self._buffers)
        self._check_size(len(head) + self._buffer_bytes)
        return encoded

    def _check_size(self, size_bytes: int) -> None:
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise ValueNotDataError(
                f"result takes {size_bytes} bytes or more as data; the limit is {self._max_bytes} bytes"
            )

    def _walk(self) -> None:
        """Encode what is in the open container, and what is in that, without recursion."""
        leaf_types, leaves, ops, opened = _LEAF_TYPES, self._leaves, self._ops, self._open
        add_leaf, add_op, learned = leaves.append, ops.append, self._learned
        rest = opened[0].rest
        run = 0  # leaves that no op names yet
        while True:
            for item in rest:
                if type(item) in leaf_types:
                    add_leaf(item)
                    run += 1
                    continue
                if run:
                    add_op(fmt.LEAVES | run << fmt.CODE_BITS)
                    run = 0
                take_apart = _TAKE_APART.get(type(item)) or learned.get(type(item)) or self._learn(item)
                if len(opened) > self._max_depth and type(item) is not bytes:
                    raise self._too_deep(item)
                code, items = take_apart(item, self)
                if self._is_careful:
                    items = _with_unfit_marked(items)
                if len(leaves) + len(items) > self._max_count or len(ops) > self._max_count:
                    raise _RefusedError(_TOO_MANY.format(self._max_count))
                if leaf_types.issuperset(map(type, items)):
                    add_op(code | len(items) << fmt.CODE_BITS)
                    leaves += items
                    continue
                add_op(fmt.OPEN)
                rest = iter(items)
                opened.append(_Open(item, code, items, rest))
                break
            else:
                if run:
                    add_op(fmt.LEAVES | run << fmt.CODE_BITS)
                    run = 0
                if len(opened) == 1:
                    return
                add_op(fmt.CLOSE | opened.pop().code << fmt.CODE_BITS)
                rest = opened[-1].rest

    def _learn(self, value: Any) -> _TakeApart:
        """How to take apart a value of a type that is not in the table."""
        kind = type(value)
        take_apart: _TakeApart
        if kind in (OrderedDict, defaultdict, Counter):
            take_apart = _dict_parts
        elif is_numpy(value, "ndarray"):
            take_apart = _array_parts
        elif is_numpy(value, "generic"):
            take_apart = _scalar_parts
        else:
            take_apart = _record_parts
        self._learned[kind] = take_apart
        return take_apart

    def check_keys(self, keys: Iterable[Any]) -> None:
        """Refuse keys that are good here, by their identity for one, but not as records."""
        if _LEAF_TYPES.issuperset(map(type, keys)):
            return
        seen = set()
        for key in keys:
            if type(key) in _LEAF_TYPES or (type(key) is tuple and _LEAF_TYPES.issuperset(map(type, key))):
                continue
            try:
                received = _as_received(key)
            except (NotARecordError, RecursionError):
                continue  # refused when the walk comes to it, which knows its place
            try:
                is_new = received not in seen
            except TypeError as error:
                raise _RefusedError(
                    f"has a key of type {type_name_of(type(key))}, which comes back as a DataRecord, "
                    f"or with one, that cannot be a key: {error}. {_HOW_TO_ALLOW}"
                ) from None
            if not is_new:
                raise _RefusedError(
                    f"has two keys of type {type_name_of(type(key))} that differ here, but come back as "
                    f"equal records. {_HOW_TO_ALLOW}"
                )
            seen.add(received)

    def add_raw(self, value: bytes) -> None:
        self._raw += value

    def check_room(self, size_bytes: int) -> None:
        """Refuse what would not fit, before it is copied."""
        self._check_size(self._buffer_bytes + size_bytes)

    def content(self, view: memoryview) -> bytes | int:
        """The bytes themselves, or the number of the buffer that they become."""
        return view.tobytes() if view.nbytes <= fmt.INLINE_CONTENT_BYTES else self.add_buffer(view)

    def add_buffer(self, view: memoryview) -> int:
        self._buffers.append(view)
        self._buffer_bytes += view.nbytes
        self._check_size(self._buffer_bytes)
        return len(self._buffers) - 1

    def _too_deep(self, item: Any) -> Exception:
        first_at: dict[int, int] = {}
        for level, container in enumerate([*(opened.container for opened in self._open[1:]), item]):
            if id(container) in first_at:
                return ValueNotDataError(
                    f"{self._place(level)} is {self._place(first_at[id(container)])} itself: "
                    f"a value that contains itself is not data. {_HOW_TO_ALLOW}"
                )
            first_at[id(container)] = level
        return _RefusedError(f"is nested deeper than {self._max_depth} levels")

    def _place(self, level: int | None = None) -> str:
        """Where the item at hand is, or the container at that level: `result['model'].layers[3]`."""
        place = "result" + "".join(map(_step, self._open[1:][:level]))
        return place if len(place) <= 400 else f"{place[:200]}...{place[-200:]}"


def _step(opened: _Open) -> str:
    """From a container to the item of it at hand."""
    items = opened.items
    index = len(items) - length_hint(opened.rest) - 1
    if opened.code in (fmt.LIST, fmt.TUPLE):
        return f"[{index}]"
    if opened.code == fmt.DICT:
        half = len(items) // 2
        return f".keys()[{index}]" if index < half else f"[{_short(items[index - half])}]"
    if opened.code == fmt.RECORD:
        half = len(items) // 2
        return f".{items[index - half]}" if index > half else ""
    return "{...}" if opened.code in (fmt.SET, fmt.FROZENSET) else ""


def _short(key: Any) -> str:
    if type(key) in _LEAF_TYPES:
        return reprlib.repr(key)
    return f"<{type(key).__name__}>"  # the repr of others may run code, and be long


def _with_unfit_marked(items: Sequence[Any]) -> Sequence[Any]:
    return [_mark_if_unfit(item) for item in items]


def _mark_if_unfit(item: Any) -> Any:
    if type(item) is int and item not in _MESSAGEPACK_INTS:
        return _BigInt(item)
    if type(item) is str and not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError:
            return _SurrogateStr(item)
    return item


def _record_of(value: Any) -> DataRecord:
    if type(value) is DataRecord:
        return value
    return DataRecord(type_name_of(type(value)), fields_of(value))


def _as_received(key: Any) -> Any:
    """A key with records in place of instances, as it comes back. Raises NotARecordError."""
    kind = type(key)
    if kind is tuple or kind is frozenset:
        return kind(map(_as_received, key))
    if kind is not DataRecord and (kind in _LEAF_TYPES or kind in _TAKE_APART or is_numpy(key, "generic")):
        return key
    record = _record_of(key)
    return DataRecord(record.type_name, {name: _as_received(value) for name, value in record.fields.items()})


def _record_parts(value: Any, _: _Encoding) -> _Parts:
    try:
        record = _record_of(value)
    except NotARecordError as error:
        raise _RefusedError(f"{error}. {_HOW_TO_ALLOW}") from None
    return fmt.RECORD, [record.type_name, *record.fields, *record.fields.values()]


def _dict_parts(value: dict[Any, Any], encoding: _Encoding) -> _Parts:
    encoding.check_keys(value)
    return fmt.DICT, [*value, *value.values()]


def _set_parts(value: set[Any], encoding: _Encoding) -> _Parts:
    encoding.check_keys(value)
    return fmt.SET, list(value)


def _frozenset_parts(value: frozenset[Any], encoding: _Encoding) -> _Parts:
    encoding.check_keys(value)
    return fmt.FROZENSET, list(value)


def _bytes_parts(value: bytes, encoding: _Encoding) -> _Parts:
    if len(value) <= fmt.INLINE_CONTENT_BYTES:
        encoding.add_raw(value)
        return fmt.BYTES | len(value) << fmt.CODE_BITS, ()
    return fmt.LARGE_BYTES | encoding.add_buffer(memoryview(value)) << fmt.CODE_BITS, ()


def _bytearray_parts(value: bytearray, encoding: _Encoding) -> _Parts:
    # The copy lets the program's other threads change its size meanwhile.
    return fmt.BYTEARRAY, (encoding.content(memoryview(bytes(value))),)


def _array_parts(value: Any, encoding: _Encoding) -> _Parts:
    try:
        order, shape, dtype = describe_array(value)
        encoding.check_room(value.nbytes)  # a broadcast array is larger than its memory
        content = encoding.content(contiguous_content(value, order))
    except UnfitArrayError as error:
        raise _RefusedError(f"{error}. {_HOW_TO_ALLOW}") from None
    return fmt.ARRAY, (order, content, len(shape), *shape, *dtype)


def _scalar_parts(value: Any, _: _Encoding) -> _Parts:
    try:
        return scalar_parts(value)
    except UnfitArrayError as error:
        raise _RefusedError(f"{error}. {_HOW_TO_ALLOW}") from None


def _big_int_parts(marked: _BigInt, _: _Encoding) -> _Parts:
    value = marked.value
    return fmt.BIG_INT, (value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),)


def _datetime_parts(value: datetime.datetime, _: _Encoding) -> _Parts:
    return fmt.DATETIME, (value.year, value.month, value.day, *_clock_of(value))


def _time_parts(value: datetime.time, _: _Encoding) -> _Parts:
    return fmt.TIME, _clock_of(value)


def _clock_of(value: datetime.datetime | datetime.time) -> tuple[Any, ...]:
    zone = value.tzinfo
    if type(zone) not in _ZONE_TYPES:
        raise _RefusedError(
            f"has a tzinfo of type {type_name_of(type(zone))}, which is not data; datetime.timezone and "
            f"zoneinfo.ZoneInfo are. {_HOW_TO_ALLOW}"
        )
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, zone)


def _timezone_parts(value: datetime.timezone, _: _Encoding) -> _Parts:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # tells a name given from one made
    return fmt.TIMEZONE, (offset.days, offset.seconds, offset.microseconds, *name)


def _zone_info_parts(value: zoneinfo.ZoneInfo, _: _Encoding) -> _Parts:
    if value.key is None:  # made from a file
        raise _RefusedError(f"is a ZoneInfo without a key, which is not data. {_HOW_TO_ALLOW}")
    return fmt.ZONE_INFO, (value.key,)


_ZONE_TYPES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)

_TAKE_APART: dict[type, _TakeApart] = {
    list: lambda value, _: (fmt.LIST, value),
    tuple: lambda value, _: (fmt.TUPLE, value),
    dict: _dict_parts,
    set: _set_parts,
    frozenset: _frozenset_parts,
    DataRecord: _record_parts,
    bytes: _bytes_parts,
    bytearray: _bytearray_parts,
    _BigInt: _big_int_parts,
    _SurrogateStr: lambda marked, _: (fmt.SURROGATE_STR, (marked.value.encode("utf-8", "surrogatepass"),)),
    complex: lambda value, _: (fmt.COMPLEX, (value.real, value.imag)),
    datetime.date: lambda value, _: (fmt.DATE, (value.year, value.month, value.day)),
    datetime.time: _time_parts,
    datetime.datetime: _datetime_parts,
    datetime.timedelta: lambda value, _: (fmt.TIMEDELTA, (value.days, value.seconds, value.microseconds)),
    datetime.timezone: _timezone_parts,
    zoneinfo.ZoneInfo: _zone_info_parts,
    decimal.Decimal: lambda value, _: (fmt.DECIMAL, (str(value),)),
    uuid.UUID: lambda value, _: (fmt.UUID, (value.int >> 64, value.int & (1 << 64) - 1)),
}
