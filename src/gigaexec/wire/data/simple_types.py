"""Types with a small, fixed number of items, and the functions that split and rebuild their values.

`SIMPLE_TYPES` at the end lists the types. docs/how-to/add-a-value-type.md shows how to add a type.

A `_take` function splits a value. It runs in the worker, in the process of the program. A `_make` function
rebuilds a value. It runs in the driver, on items that a hostile process may have chosen, so it checks the
types of the items with `exactly` before using them.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.format import BadDataError, UnfitValueError
from gigaexec.wire.data.instances import type_name_of

if TYPE_CHECKING:
    from gigaexec.wire.data.context import DecodingContext, EncodingContext

# Allowed names of time zones. No dots, so that no name leads out of the folder of the time zone database.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")

# Comparing ints above this size takes long enough to matter, see `HashingBudget`.
_LARGE_INT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class SimpleType:
    """A type whose values consist of a small, fixed number of items.

    Args:
        kind: The type. Instances of subclasses are not included.
        code: The op code of the type.
        take_apart: Function that returns the items of a value. An item is a leaf, bytes or a value of another
            type. Runs in the worker. Raises UnfitValueError if the value cannot be rebuilt from items.
        make: Function that rebuilds the value from the items. Runs in the driver on untrusted items, in
            linear time or less. Any exception becomes a ValueNotReadableError.
    """

    kind: type
    code: int
    take_apart: Callable[[Any, EncodingContext], Sequence[Any]]
    make: Callable[[Sequence[Any], DecodingContext], Any]


def exactly(what: str, items: Sequence[Any], *types: type) -> Sequence[Any]:
    """Return the items unchanged, after checking their number and exact types.

    Args:
        what: The value that consists of the items, for the message.
        items: The items.
        *types: The expected type of each item.

    Raises:
        BadDataError: The items do not have exactly the given types.
    """
    if tuple(map(type, items)) != types:
        expected = ", ".join(each.__name__ for each in types[:10])
        found = ", ".join(type(item).__name__ for item in items[:10])
        raise BadDataError(f"expected the items of {what} to be ({expected}), got ({found})")
    return items


@dataclass(frozen=True, slots=True)
class BigInt:
    """A wrapper that marks an int outside the 64-bit range of MessagePack."""

    value: int


def _take_big_int(marked: BigInt, _: EncodingContext) -> Sequence[Any]:
    value = marked.value
    return (value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),)


def _make_big_int(items: Sequence[Any], decoding: DecodingContext) -> int:
    (data,) = exactly("a large int", items, bytes)
    decoding.hashing.has_large_int |= len(data) > _LARGE_INT_BYTES
    return int.from_bytes(data, "little", signed=True)


@dataclass(frozen=True, slots=True)
class SurrogateStr:
    """A wrapper that marks a str with lone surrogates, which UTF-8 cannot encode."""

    value: str


def _take_surrogate_str(marked: SurrogateStr, _: EncodingContext) -> Sequence[Any]:
    return (marked.value.encode("utf-8", "surrogatepass"),)


def _make_surrogate_str(items: Sequence[Any], _: DecodingContext) -> str:
    text: str = exactly("a str with surrogates", items, bytes)[0].decode("utf-8", "surrogatepass")
    return text


def _take_complex(value: complex, _: EncodingContext) -> Sequence[Any]:
    return (value.real, value.imag)


def _make_complex(items: Sequence[Any], _: DecodingContext) -> complex:
    return complex(*exactly("a complex number", items, float, float))


def _take_bytearray(value: bytearray, encoding: EncodingContext) -> Sequence[Any]:
    # Copied, because other threads of the program may resize the bytearray during encoding.
    return (encoding.content(memoryview(bytes(value))),)


def _make_bytearray(items: Sequence[Any], decoding: DecodingContext) -> bytearray:
    return bytearray(decoding.content(*items))


def _take_date(value: datetime.date, _: EncodingContext) -> Sequence[Any]:
    return (value.year, value.month, value.day)


def _make_date(items: Sequence[Any], _: DecodingContext) -> datetime.date:
    return datetime.date(*exactly("a date", items, int, int, int))


def _take_time(value: datetime.time | datetime.datetime, _: EncodingContext) -> tuple[Any, ...]:
    zone = value.tzinfo
    if type(zone) not in _ZONE_TYPES:
        raise UnfitValueError(
            f"has a tzinfo of type {type_name_of(type(zone))}, which the data format cannot encode; use "
            "datetime.timezone or zoneinfo.ZoneInfo"
        )
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, zone)


def _make_time(items: Sequence[Any], _: DecodingContext) -> datetime.time:
    hour, minute, second, microsecond, fold = exactly("a time", items[:5], int, int, int, int, int)
    (zone,) = items[5:]
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _take_datetime(value: datetime.datetime, encoding: EncodingContext) -> Sequence[Any]:
    return (value.year, value.month, value.day, *_take_time(value, encoding))


def _make_datetime(items: Sequence[Any], decoding: DecodingContext) -> datetime.datetime:
    return datetime.datetime.combine(_make_date(items[:3], decoding), _make_time(items[3:], decoding))


def _take_timedelta(value: datetime.timedelta, _: EncodingContext) -> Sequence[Any]:
    return (value.days, value.seconds, value.microseconds)


def _make_timedelta(items: Sequence[Any], _: DecodingContext) -> datetime.timedelta:
    return datetime.timedelta(*exactly("a timedelta", items, int, int, int))


def _take_timezone(value: datetime.timezone, _: EncodingContext) -> Sequence[Any]:
    # Only __getinitargs__ shows if a name was given. tzname() derives a name from the offset if none was
    # given.
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # not in typeshed
    return (offset.days, offset.seconds, offset.microseconds, *name)


def _make_timezone(items: Sequence[Any], decoding: DecodingContext) -> datetime.timezone:
    offset = _make_timedelta(items[:3], decoding)
    if len(items) == 3:
        return datetime.timezone(offset)  # returns the singleton timezone.utc if the offset is zero
    return datetime.timezone(offset, *exactly("a timezone", items[3:], str))


def _take_zone_info(value: zoneinfo.ZoneInfo, _: EncodingContext) -> Sequence[Any]:
    if value.key is None:  # ZoneInfo.from_file() was called without a key
        raise UnfitValueError(
            "is a ZoneInfo without a key, which the data format cannot encode; use zoneinfo.ZoneInfo(key)"
        )
    return (value.key,)


def _make_zone_info(items: Sequence[Any], _: DecodingContext) -> zoneinfo.ZoneInfo:
    (key,) = exactly("a ZoneInfo", items, str)
    if not _ZONE_KEY.fullmatch(key):
        raise BadDataError(f"expected a time zone key such as 'Europe/Berlin', got {key!r:.80}")
    return zoneinfo.ZoneInfo(key)


_ZONE_TYPES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)


def _take_decimal(value: decimal.Decimal, _: EncodingContext) -> Sequence[Any]:
    return (str(value),)


def _make_decimal(items: Sequence[Any], decoding: DecodingContext) -> decimal.Decimal:
    decoding.hashing.has_decimal = True
    return decimal.Decimal(*exactly("a Decimal", items, str))


def _take_uuid(value: uuid.UUID, _: EncodingContext) -> Sequence[Any]:
    return (value.int >> 64, value.int & (1 << 64) - 1)


def _make_uuid(items: Sequence[Any], _: DecodingContext) -> uuid.UUID:
    high, low = exactly("a UUID", items, int, int)
    return uuid.UUID(int=high << 64 | low)


SIMPLE_TYPES = (
    SimpleType(BigInt, fmt.BIG_INT, _take_big_int, _make_big_int),
    SimpleType(SurrogateStr, fmt.SURROGATE_STR, _take_surrogate_str, _make_surrogate_str),
    SimpleType(complex, fmt.COMPLEX, _take_complex, _make_complex),
    SimpleType(bytearray, fmt.BYTEARRAY, _take_bytearray, _make_bytearray),
    SimpleType(datetime.date, fmt.DATE, _take_date, _make_date),
    SimpleType(datetime.time, fmt.TIME, _take_time, _make_time),
    SimpleType(datetime.datetime, fmt.DATETIME, _take_datetime, _make_datetime),
    SimpleType(datetime.timedelta, fmt.TIMEDELTA, _take_timedelta, _make_timedelta),
    SimpleType(datetime.timezone, fmt.TIMEZONE, _take_timezone, _make_timezone),
    SimpleType(zoneinfo.ZoneInfo, fmt.ZONE_INFO, _take_zone_info, _make_zone_info),
    SimpleType(decimal.Decimal, fmt.DECIMAL, _take_decimal, _make_decimal),
    SimpleType(uuid.UUID, fmt.UUID, _take_uuid, _make_uuid),
)
