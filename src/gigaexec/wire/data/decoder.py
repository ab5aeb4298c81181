"""A return value from data that a hostile process may have made. The format is drawn in data_format.py.

What an attacker could want, and what prevents it:

run code            only types of a closed table are made, from items whose types are checked
overflow C's stack  msgspec is held to one flat array of scalars; the walk below has a stack of its own
exhaust memory      the number of leaves is read from its header first; see `decode_data` for the bound
collide hashes      keys of a set or dict are inserted against a budget of CPU time, see `_HashingBudget`
corrupt numpy       dtypes are rebuilt from checked parts, contents of bools and texts are looked at
                    (transport/data_arrays.py)
"""

from __future__ import annotations

import datetime
import decimal
import re
import time
import uuid
import zoneinfo
from collections.abc import Callable, Sequence, Sized
from types import ModuleType
from typing import Any

import msgspec

from gigaexec.errors import ValueNotReadableError
from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.record import DataRecord

_HEAD = msgspec.msgpack.Decoder(tuple[list[bool | int | float | str | None], bytes, bytes])
_LEAF_TYPES = frozenset({type(None), bool, int, float, str})

# Names of the time zone database. No dots: none leads out of its folder.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")


class _BadDataError(Exception):
    """The bytes are not what the encoder makes; the message says why."""


def decode_data(
    head: bytes | memoryview,
    buffers: Sequence[memoryview | bytes | bytearray],
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
) -> Any:
    """The value that `encode_data` encoded, or an error, whatever the bytes are.

    Arrays are built on the buffers without a copy and keep them alive; they can be written to if their
    buffer can, small ones always. Nobody else may change a buffer afterwards: what was checked must stay.

    Memory beside the buffers is at most 4 bytes for each byte of the head, for texts, 120 bytes for each
    leaf, and 250 for each op. Time is linear in size, but for colliding keys, which cost at most a few
    times 0.5 s + 2 us for each item before they are refused.

    Args:
        head: MessagePack.
        buffers: Contents of arrays and large bytes. Their sizes need no alignment; aligned ones are faster.
        max_depth: Levels of nesting, as in `encode_data`.
        max_count: Leaves, and ops, each.

    Raises:
        ValueNotReadableError: The bytes are no such value, exceed a limit, or hold an array and numpy
            cannot be imported here.
    """
    try:
        return _Decoding(buffers, max_depth, max_count).decode(head)
    except _BadDataError as error:
        raise ValueNotReadableError(f"the result is not valid data: {error}") from None
    except Exception as error:
        # numpy, datetime, decimal and hash() say in their own ways that they were given nonsense.
        raise ValueNotReadableError(f"the result is not valid data: {_described(error)}") from error


def _described(error: Exception) -> str:
    try:
        text = str(error)
    except ValueError:  # it quotes an int of thousands of digits, which str() refuses
        text = ""
    # Other libraries quote what they were given, at length.
    return f"{type(error).__name__}: {text[:300]}"


class _Decoding:
    """One value on its way."""

    def __init__(
        self,
        buffers: Sequence[memoryview | bytes | bytearray],
        max_depth: int,
        max_count: int,
    ) -> None:
        self._buffers: list[memoryview | None] = [memoryview(buffer).cast("B") for buffer in buffers]
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self.hashing = _HashingBudget()
        self.has_decimal = False

    def decode(self, head: bytes | memoryview) -> Any:
        if _leaf_count(head) > self._max_count:
            raise _BadDataError(f"more than {self._max_count} items")
        leaves, ops, raw = _HEAD.decode(head)
        if len(ops) % 4:
            raise _BadDataError("its ops are cut off")
        if len(ops) // 4 > self._max_count:
            raise _BadDataError(f"more than {self._max_count} items")
        self.hashing.allow(len(leaves) + len(ops) // 4)
        values = self._walk(leaves, memoryview(ops).cast("I"), raw)
        if len(values) != 1:
            raise _BadDataError(f"{len(values)} values in place of one")
        if any(buffer is not None for buffer in self._buffers):
            raise _BadDataError("a buffer that no array uses")
        return values[0]

    def _walk(self, leaves: list[Any], ops: memoryview, raw: bytes) -> list[Any]:
        """Make what the ops say; return what is left when they end."""
        makers, max_depth = _MAKERS, self._max_depth
        opened: list[list[Any]] = []
        made: list[Any] = []
        leaf_end = raw_end = 0
        for op in ops:
            code, number = op & fmt.CODE_MASK, op >> fmt.CODE_BITS
            if code >= fmt.LIST:
                if len(opened) >= max_depth:
                    raise _BadDataError(f"nested deeper than {max_depth} levels")
                start, leaf_end = leaf_end, leaf_end + number
                made.append(makers[code](leaves[start:leaf_end], self))
            elif code == fmt.LEAVES:
                start, leaf_end = leaf_end, leaf_end + number
                made += leaves[start:leaf_end]
            elif code == fmt.OPEN:
                if len(opened) >= max_depth:
                    raise _BadDataError(f"nested deeper than {max_depth} levels")
                opened.append(made)
                made = []
            elif code == fmt.CLOSE:
                value = makers[number](made, self)
                made = opened.pop()
                made.append(value)
            elif code == fmt.BYTES:
                start, raw_end = raw_end, raw_end + number
                made.append(raw[start:raw_end])
            else:
                made.append(bytes(self.take_buffer(number)))
        if opened or leaf_end != len(leaves) or raw_end != len(raw):
            raise _BadDataError("its ops do not match its leaves")
        return made

    def take_buffer(self, number: int) -> memoryview:
        """A buffer, once: two arrays on one would change with each other."""
        buffer = self._buffers[number] if 0 <= number < len(self._buffers) else None
        if buffer is None:
            raise _BadDataError(f"buffer {number} is missing or used twice")
        self._buffers[number] = None
        return buffer

    def content(self, item: object) -> memoryview:
        """The content of an array or bytearray. Inline, it is made writable."""
        if type(item) is bytes:
            return memoryview(bytearray(item))
        (number,) = _exactly([item], int)
        return self.take_buffer(number)


class _HashingBudget:
    """Bounds the time that colliding keys can cost.

    Hashes of ints, and of what consists of ints, are chosen by who chooses the ints: n keys that collide
    cost n * n / 2 comparisons. Equal hashes could be counted; but keys with different hashes can be made to
    probe the same slots one after the other. So the CPU time of inserting is measured, and ends the
    decoding when it exceeds what honest keys take by a factor of ten or more. The time of this thread is
    taken, which does not pass while others run.

    A level of nested frozensets multiplies the time of a comparison by at most what building that level
    took. That is why small sets of such keys are measured too, and why one step never takes much longer
    than what was measured before it.
    """

    # Covers what the clock and the kernel add: page faults, a cold cache.
    _BASE_S = 0.5
    # An int takes 0.1 us, a tuple 0.3 us or more, but then has items, which count too.
    _PER_ITEM_S = 2e-6

    # 64 keys cost at most 32 comparisons each, which is linear.
    LEAF_KEYS_PER_STEP = 64
    # A look at the clock takes as long as inserting a few tuples.
    OTHER_KEYS_PER_STEP = 4

    def __init__(self) -> None:
        self._left_s = 0.0
        self.has_large_int = False

    def allow(self, items: int) -> None:
        self._left_s = self._BASE_S + self._PER_ITEM_S * items

    def insert(self, add: Callable[[int, int], object], keys: Sequence[Any]) -> None:
        """Call `add(start, end)` for parts of the keys until all are in."""
        # A comparison of large ints takes up to as long as reading them: 64 keys of 1 MB take 0.3 s.
        are_leaves = not self.has_large_int and _LEAF_TYPES.issuperset(map(type, keys))
        step = self.LEAF_KEYS_PER_STEP if are_leaves else self.OTHER_KEYS_PER_STEP
        if are_leaves and len(keys) <= step:
            add(0, len(keys))
            return
        for start in range(0, len(keys), step):
            began = time.thread_time()
            add(start, start + step)
            self._left_s -= time.thread_time() - began
            if self._left_s < 0:
                raise _BadDataError(
                    "keys of its sets and dicts collide, so that inserting them takes too long"
                )


def _leaf_count(head: bytes | memoryview) -> int:
    """How many leaves the head says it has, before anything is allocated for them."""
    # The second byte begins an array: fixarray 0x90 | n, array 16 (0xdc) or array 32 (0xdd).
    kind = head[1] if len(head) > 1 else 0
    if kind & 0xF0 == 0x90:
        return kind & 0x0F
    if kind not in (0xDC, 0xDD):
        raise _BadDataError("it does not begin with an array of leaves")
    return int.from_bytes(head[2 : 4 if kind == 0xDC else 6], "big")


def _exactly(items: Sequence[Any], *types: type) -> Sequence[Any]:
    """The items, if they are of these types and as many."""
    if tuple(map(type, items)) != types:
        raise _BadDataError(f"{', '.join(type(item).__name__ for item in items[:10])} where others belong")
    return items


def _make_dict(items: list[Any], decoding: _Decoding) -> dict[Any, Any]:
    half, odd = divmod(len(items), 2)
    if odd:
        raise _BadDataError("a dict with a key and no value")
    keys, values = items[:half], items[half:]
    _check_comparable(keys, decoding)
    made: dict[Any, Any] = {}

    def insert(start: int, end: int) -> None:
        made.update(zip(keys[start:end], values[start:end], strict=True))

    decoding.hashing.insert(insert, keys)
    _check_distinct(made, keys)
    return made


def _make_set(items: list[Any], decoding: _Decoding) -> set[Any]:
    _check_comparable(items, decoding)
    made: set[Any] = set()
    decoding.hashing.insert(lambda start, end: made.update(items[start:end]), items)
    _check_distinct(made, items)
    return made


def _check_comparable(keys: list[Any], decoding: _Decoding) -> None:
    # Decimal == int converts the int, which takes time in the square of its length: 0.8 s for 100 kB.
    may_be_slow = decoding.hashing.has_large_int and decoding.has_decimal
    if may_be_slow and not _LEAF_TYPES.issuperset(map(type, keys)):
        raise _BadDataError("keys that may be both Decimals and large ints, which take long to compare")


def _check_distinct(made: Sized, keys: list[Any]) -> None:
    if len(made) != len(keys):
        raise _BadDataError("keys of a set or dict that are equal")


def _make_record(items: list[Any], decoding: _Decoding) -> DataRecord:
    type_name, *fields = items
    if len(fields) % 2 or {type(type_name), *map(type, fields[: len(fields) // 2])} != {str}:
        raise _BadDataError("a record whose names are not texts")
    return DataRecord(type_name, _make_dict(fields, decoding))


def _make_big_int(items: list[Any], decoding: _Decoding) -> int:
    (data,) = _exactly(items, bytes)
    decoding.hashing.has_large_int |= len(data) > _LARGE_INT_BYTES
    return int.from_bytes(data, "little", signed=True)


def _make_decimal(items: list[Any], decoding: _Decoding) -> decimal.Decimal:
    decoding.has_decimal = True
    return decimal.Decimal(*_exactly(items, str))


def _make_timezone(items: list[Any], _: _Decoding) -> datetime.timezone:
    offset = datetime.timedelta(*_exactly(items[:3], int, int, int))
    if len(items) == 3:
        return datetime.timezone(offset)  # the very object timezone.utc for no offset
    return datetime.timezone(offset, *_exactly(items[3:], str))


def _make_zone_info(items: list[Any], _: _Decoding) -> zoneinfo.ZoneInfo:
    (key,) = _exactly(items, str)
    if not _ZONE_KEY.fullmatch(key):
        raise _BadDataError("the key of a time zone that can be none")
    return zoneinfo.ZoneInfo(key)


def _make_datetime(items: list[Any], decoding: _Decoding) -> datetime.datetime:
    year, month, day = _exactly(items[:3], int, int, int)
    return datetime.datetime.combine(datetime.date(year, month, day), _make_time(items[3:], decoding))


def _make_time(items: list[Any], _: _Decoding) -> datetime.time:
    hour, minute, second, microsecond, fold = _exactly(items[:5], int, int, int, int, int)
    (zone,) = items[5:]
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _make_uuid(items: list[Any], _: _Decoding) -> uuid.UUID:
    high, low = _exactly(items, int, int)
    return uuid.UUID(int=high << 64 | low)


def _make_array(items: list[Any], decoding: _Decoding) -> Any:
    order, content, dimensions, *rest = items
    _exactly([order, dimensions], str, int)
    if not 0 <= dimensions <= len(rest):
        raise _BadDataError("an array with parts of its shape missing")
    shape = _exactly(rest[:dimensions], *[int] * dimensions)
    return _arrays().make_array(rest[dimensions:], order, shape, decoding.content(content))


def _make_numpy_scalar(items: list[Any], _: _Decoding) -> Any:
    content, *description = items
    return _arrays().make_scalar(description, content)


def _make_numpy_str(items: list[Any], _: _Decoding) -> Any:
    return _arrays().numpy.str_(*_exactly(items, str))


def _make_numpy_bytes(items: list[Any], _: _Decoding) -> Any:
    return _arrays().numpy.bytes_(*_exactly(items, bytes))


def _arrays() -> ModuleType:
    """What needs numpy, which the driver loads with the first array only."""
    try:
        from gigaexec.wire.data import arrays_in as data_arrays
    except ImportError as error:
        raise _BadDataError(
            f"it holds numpy's arrays or numbers, and numpy cannot be imported here: {error}. Install numpy, "
            "or let the program return lists and floats"
        ) from error
    return data_arrays


def _is_no_value(_: list[Any], __: _Decoding) -> Any:
    raise _BadDataError("an op that there is not")


_LARGE_INT_BYTES = 1024

_MAKERS: list[Callable[[list[Any], _Decoding], Any]] = [_is_no_value] * (1 << fmt.CODE_BITS)
for _code, _maker in {
    fmt.LIST: lambda items, _: items,
    fmt.TUPLE: lambda items, _: tuple(items),
    fmt.DICT: _make_dict,
    fmt.SET: _make_set,
    fmt.FROZENSET: lambda items, decoding: frozenset(_make_set(items, decoding)),
    fmt.RECORD: _make_record,
    fmt.BIG_INT: _make_big_int,
    fmt.COMPLEX: lambda items, _: complex(*_exactly(items, float, float)),
    fmt.SURROGATE_STR: lambda items, _: _exactly(items, bytes)[0].decode("utf-8", "surrogatepass"),
    fmt.BYTEARRAY: lambda items, decoding: bytearray(decoding.content(*items)),
    fmt.DATE: lambda items, _: datetime.date(*_exactly(items, int, int, int)),
    fmt.TIME: _make_time,
    fmt.DATETIME: _make_datetime,
    fmt.TIMEDELTA: lambda items, _: datetime.timedelta(*_exactly(items, int, int, int)),
    fmt.TIMEZONE: _make_timezone,
    fmt.ZONE_INFO: _make_zone_info,
    fmt.DECIMAL: _make_decimal,
    fmt.UUID: _make_uuid,
    fmt.ARRAY: _make_array,
    fmt.NUMPY_SCALAR: _make_numpy_scalar,
    fmt.NUMPY_STR: _make_numpy_str,
    fmt.NUMPY_BYTES: _make_numpy_bytes,
}.items():
    _MAKERS[_code] = _maker
