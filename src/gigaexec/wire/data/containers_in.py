"""Build dicts, sets and records from items that a hostile process may have chosen."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.format import BadDataError
from gigaexec.wire.data.record import DataRecord

if TYPE_CHECKING:
    from gigaexec.wire.data.context import DecodingContext


def _make_dict(items: list[Any], decoding: DecodingContext) -> dict[Any, Any]:
    half, odd = divmod(len(items), 2)
    if odd:
        raise BadDataError("a dict has a key without a value")
    keys, values = items[:half], items[half:]
    decoding.hashing.check_comparable(keys)
    made: dict[Any, Any] = {}

    def insert(start: int, end: int) -> None:
        made.update(zip(keys[start:end], values[start:end], strict=True))

    decoding.hashing.insert(insert, keys)
    _check_distinct(made, keys)
    return made


def _make_set(items: list[Any], decoding: DecodingContext) -> set[Any]:
    decoding.hashing.check_comparable(items)
    made: set[Any] = set()
    decoding.hashing.insert(lambda start, end: made.update(items[start:end]), items)
    _check_distinct(made, items)
    return made


def _check_distinct(made: Sized, keys: list[Any]) -> None:
    if len(made) != len(keys):
        raise BadDataError(
            f"a {type(made).__name__} has {len(keys)} keys, but only {len(made)} distinct ones"
        )


def _make_record(items: list[Any], decoding: DecodingContext) -> DataRecord:
    type_name, *fields = items
    half, odd = divmod(len(fields), 2)
    if odd:
        raise BadDataError(
            "expected as many field names as values after the type name of a record, got an odd number of "
            f"items: {len(fields)}"
        )
    for name in (type_name, *fields[:half]):
        if type(name) is not str:
            raise BadDataError(
                f"expected the type name and field names of a record as str, got {type(name).__name__}"
            )
    return DataRecord(type_name, _make_dict(fields, decoding))


CONTAINER_MAKERS: dict[int, Callable[[list[Any], DecodingContext], Any]] = {
    fmt.LIST: lambda items, _: items,
    fmt.TUPLE: lambda items, _: tuple(items),
    fmt.DICT: _make_dict,
    fmt.SET: _make_set,
    fmt.FROZENSET: lambda items, decoding: frozenset(_make_set(items, decoding)),
    fmt.RECORD: _make_record,
}
