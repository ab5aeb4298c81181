"""Split dicts, sets and records into items. Runs in the worker, in the process of the program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.arrays_out import is_numpy
from gigaexec.wire.data.format import LEAF_TYPES, UnfitValueError
from gigaexec.wire.data.instances import fields_of, type_name_of
from gigaexec.wire.data.record import DataRecord
from gigaexec.wire.data.simple_types import SIMPLE_TYPES

if TYPE_CHECKING:
    from gigaexec.wire.data.context import EncodingContext


def take_dict(value: dict[Any, Any], _: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return the op code and the items of a dict.

    Raises:
        UnfitValueError: Keys that differ in this process would be equal or unhashable in the driver.
    """
    _check_keys(value)
    return fmt.DICT, [*value, *value.values()]


def take_record(value: Any, _: EncodingContext) -> tuple[int, Sequence[Any]]:
    """Return the op code and the items of an instance or a DataRecord.

    Raises:
        UnfitValueError: The value is of a type that cannot become a DataRecord.
    """
    record = _record_of(value)
    return fmt.RECORD, [record.type_name, *record.fields, *record.fields.values()]


def _take_set(value: set[Any], _: EncodingContext) -> tuple[int, Sequence[Any]]:
    _check_keys(value)
    return fmt.SET, list(value)


def _take_frozenset(value: frozenset[Any], _: EncodingContext) -> tuple[int, Sequence[Any]]:
    _check_keys(value)
    return fmt.FROZENSET, list(value)


CONTAINERS: dict[type, Callable[[Any, EncodingContext], tuple[int, Sequence[Any]]]] = {
    list: lambda value, _: (fmt.LIST, value),
    tuple: lambda value, _: (fmt.TUPLE, value),
    dict: take_dict,
    set: _take_set,
    frozenset: _take_frozenset,
    DataRecord: take_record,
}

# Types that the decoder rebuilds exactly. An instance inside such a container still becomes a DataRecord.
_KEPT_TYPES = LEAF_TYPES | {bytes} | {each.kind for each in SIMPLE_TYPES} | CONTAINERS.keys() - {DataRecord}


def _check_keys(keys: Iterable[Any]) -> None:
    """Raise UnfitValueError for keys that would be equal or unhashable in the driver.

    In the driver, each instance is a DataRecord. Two instances that differ only by identity can become
    equal records.
    """
    if LEAF_TYPES.issuperset(map(type, keys)):
        return
    seen = set()
    for key in keys:
        if type(key) in LEAF_TYPES or (type(key) is tuple and LEAF_TYPES.issuperset(map(type, key))):
            continue
        try:
            received = _as_received(key)
        except (UnfitValueError, RecursionError):
            continue  # the encoder refuses this key later, with its place in the value
        try:
            is_new = received not in seen
        except TypeError as error:
            raise UnfitValueError(
                f"has a key of type {type_name_of(type(key))} that cannot be hashed in the driver, because "
                f"the driver receives class instances as DataRecords ({error})"
            ) from None
        if not is_new:
            raise UnfitValueError(
                f"has two keys of type {type_name_of(type(key))} that differ in the program, but become "
                "equal DataRecords in the driver"
            )
        seen.add(received)


def _as_received(key: Any) -> Any:
    """Return the key as the driver gets it, with a DataRecord for each instance.

    Raises:
        UnfitValueError: An instance cannot become a DataRecord.
    """
    kind = type(key)
    if kind is tuple or kind is frozenset:
        return kind(map(_as_received, key))
    if kind in _KEPT_TYPES or is_numpy(key, "generic"):
        return key
    record = _record_of(key)
    return DataRecord(record.type_name, {name: _as_received(value) for name, value in record.fields.items()})


def _record_of(value: Any) -> DataRecord:
    if type(value) is DataRecord:
        return value
    return DataRecord(type_name_of(type(value)), fields_of(value))
