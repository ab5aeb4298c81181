"""Types made of a fixed few items, and for each the functions that take a value apart and make it again.

`SIMPLE_TYPES` at the end lists them; docs/how-to/add-a-value-type.md shows how to add one.

Taking apart runs in the worker, next to the program. Making runs in the driver, on items that a hostile
process may have chosen: a `_make` function checks the types of its items with `exactly` before it uses them.
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

# Names of the time zone database. No dots, so that no name leads out of its folder.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")

# Comparing ints of this size takes long enough to matter, see `HashingBudget`.
_LARGE_INT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class SimpleType:
    """A type whose values consist of a fixed few items.

    Args:
        kind: The type. Instances of subclasses are not included.
        code: Its op code.
        take_apart: Return a value's items, each a leaf, bytes or a value of another type. Runs in the worker.
            Raises UnfitValueError if this value cannot be rebuilt from items.
        make: Return the value of these items. Runs in the driver on untrusted items. Any exception that it
            raises becomes a ValueNotReadableError. It must not take longer than linear time.
    """

    kind: type
    code: int
    take_apart: Callable[[Any, EncodingContext], Sequence[Any]]
    make: Callable[[Sequence[Any], DecodingContext], Any]


def exactly(items: Sequence[Any], *types: type) -> Sequence[Any]:
    """Return the items.

    Raises:
        BadDataError: Their number or exact types are not the expected ones.
    """
    if tuple(map(type, items)) != types:
        expected = ", ".join(each.__name__ for each in types[:10])
        found = ", ".join(type(item).__name__ for item in items[:10])
        raise BadDataError(f"expected the items ({expected}), got ({found})")
    return items


@dataclass(frozen=True, slots=True)
class BigInt:
    """Marks an int outside the 64-bit range of MessagePack."""

    value: int


def _take_big_int(marked: BigInt, _: EncodingContext) -> Sequence[Any]:
    value = marked.value
    return (value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),)


def _make_big_int(items: Sequence[Any], decoding: DecodingContext) -> int:
    (data,) = exactly(items, bytes)
    decoding.hashing.has_large_int |= len(data) > _LARGE_INT_BYTES
    return int.from_bytes(data, "little", signed=True)


@dataclass(frozen=True, slots=True)
class SurrogateStr:
    """Marks a str with lone surrogates, which UTF-8 cannot encode."""

    value: str


def _take_surrogate_str(marked: SurrogateStr, _: EncodingContext) -> Sequence[Any]:
    return (marked.value.encode("utf-8", "surrogatepass"),)


def _make_surrogate_str(items: Sequence[Any], _: DecodingContext) -> str:
    text: str = exactly(items, bytes)[0].decode("utf-8", "surrogatepass")
    return text


def _take_complex(value: complex, _: EncodingContext) -> Sequence[Any]:
    return (value.real, value.imag)


def _make_complex(items: Sequence[Any], _: DecodingContext) -> complex:
    return complex(*exactly(items, float, float))


def _take_bytearray(value: bytearray, encoding: EncodingContext) -> Sequence[Any]:
    # A copy: other threads of the program may resize the original meanwhile.
    return (encoding.content(memoryview(bytes(value))),)


def _make_bytearray(items: Sequence[Any], decoding: DecodingContext) -> bytearray:
    return bytearray(decoding.content(*items))


def _take_date(value: datetime.date, _: EncodingContext) -> Sequence[Any]:
    return (value.year, value.month, value.day)


def _make_date(items: Sequence[Any], _: DecodingContext) -> datetime.date:
    return datetime.date(*exactly(items, int, int, int))


def _take_time(value: datetime.time | datetime.datetime, _: EncodingContext) -> tuple[Any, ...]:
    zone = value.tzinfo
    if type(zone) not in _ZONE_TYPES:
        raise UnfitValueError(
            f"has a tzinfo of type {type_name_of(type(zone))}, which is not data; use datetime.timezone or "
            "zoneinfo.ZoneInfo"
        )
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, zone)


def _make_time(items: Sequence[Any], _: DecodingContext) -> datetime.time:
    hour, minute, second, microsecond, fold = exactly(items[:5], int, int, int, int, int)
    (zone,) = items[5:]
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _take_datetime(value: datetime.datetime, encoding: EncodingContext) -> Sequence[Any]:
    return (value.year, value.month, value.day, *_take_time(value, encoding))


def _make_datetime(items: Sequence[Any], decoding: DecodingContext) -> datetime.datetime:
    return datetime.datetime.combine(_make_date(items[:3], decoding), _make_time(items[3:], decoding))


def _take_timedelta(value: datetime.timedelta, _: EncodingContext) -> Sequence[Any]:
    return (value.days, value.seconds, value.microseconds)


def _make_timedelta(items: Sequence[Any], _: DecodingContext) -> datetime.timedelta:
    return datetime.timedelta(*exactly(items, int, int, int))


def _take_timezone(value: datetime.timezone, _: EncodingContext) -> Sequence[Any]:
    # Only __getinitargs__ distinguishes a given name from one that tzname() derives.
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return (offset.days, offset.seconds, offset.microseconds, *name)


def _make_timezone(items: Sequence[Any], decoding: DecodingContext) -> datetime.timezone:
    offset = _make_timedelta(items[:3], decoding)
    if len(items) == 3:
        return datetime.timezone(offset)  # for no offset the singleton timezone.utc
    return datetime.timezone(offset, *exactly(items[3:], str))


def _take_zone_info(value: zoneinfo.ZoneInfo, _: EncodingContext) -> Sequence[Any]:
    if value.key is None:  # made by ZoneInfo.from_file
        raise UnfitValueError("is a ZoneInfo without a key, which is not data")
    return (value.key,)


def _make_zone_info(items: Sequence[Any], _: DecodingContext) -> zoneinfo.ZoneInfo:
    (key,) = exactly(items, str)
    if not _ZONE_KEY.fullmatch(key):
        raise BadDataError(f"not a time zone key: {key!r:.80}")
    return zoneinfo.ZoneInfo(key)


_ZONE_TYPES = (type(None), datetime.timezone, zoneinfo.ZoneInfo)


def _take_decimal(value: decimal.Decimal, _: EncodingContext) -> Sequence[Any]:
    return (str(value),)


def _make_decimal(items: Sequence[Any], decoding: DecodingContext) -> decimal.Decimal:
    decoding.hashing.has_decimal = True
    return decimal.Decimal(*exactly(items, str))


def _take_uuid(value: uuid.UUID, _: EncodingContext) -> Sequence[Any]:
    return (value.int >> 64, value.int & (1 << 64) - 1)


def _make_uuid(items: Sequence[Any], _: DecodingContext) -> uuid.UUID:
    high, low = exactly(items, int, int)
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
