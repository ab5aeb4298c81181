"""Read and check the fields of a message's header. Unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gigaexec.calls import ValueLayout
from gigaexec.wire.checks import ProtocolError, require_count, require_layout, require_list, require_str
from gigaexec.wire.values_in import ValueBytes

_T = TypeVar("_T")


class Fields:
    """A dict in the header of a message. Its fields are checked when they are read.

    Args:
        path: Path of the dict in the header, for error messages; "" for the header itself.
        record: The dict, not checked yet.

    Raises:
        ProtocolError: `record` is not a dict, or has keys that are not str.
    """

    def __init__(self, path: str, record: object) -> None:
        where = path or "the header"
        if type(record) is not dict:
            raise ProtocolError(f"{where}: expected a dict with str keys, got {type(record).__name__}")
        for key in record:
            if type(key) is not str:
                raise ProtocolError(
                    f"{where}: expected a dict with str keys, got a key of type {type(key).__name__}"
                )
        self._path = f"{path}." if path else ""
        self._record = record

    def __contains__(self, name: str) -> bool:
        return name in self._record

    def read(self, name: str, check: Callable[[Any], _T]) -> _T:
        """Return a checked field. Raises ProtocolError if the field is missing or not valid."""
        if name not in self._record:
            raise ProtocolError(f"{self._path}{name} is missing")
        try:
            return check(self._record[name])
        except ProtocolError as error:
            raise ProtocolError(f"{self._path}{name}: {error}") from None

    def read_if_any(self, name: str, check: Callable[[Any], _T]) -> _T | None:
        """Return a checked field; None if it is missing or None. Raises ProtocolError if it is not valid."""
        return None if self._record.get(name) is None else self.read(name, check)

    def section(self, name: str) -> Fields:
        """Return a field that is a dict. Raises ProtocolError if the field is missing or not a dict."""
        return Fields(f"{self._path}{name}", self.read(name, lambda value: value))

    def section_if_any(self, name: str) -> Fields | None:
        """Return a field that is a dict, or None if the field is missing or None."""
        return None if self._record.get(name) is None else self.section(name)

    def known(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the fields with these names, without checks. Missing fields are left out."""
        return {name: self._record[name] for name in names if name in self._record}

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return the names and values of all fields, without checks."""
        return self._record.items()


def nullable(check: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    """Return a check that accepts None, and values that pass `check`."""
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], _T]) -> Callable[[Any], list[_T]]:
    """Return a check that accepts a list whose items pass `check`."""
    return lambda value: [check(item) for item in require_list(value)]


def layout_as_record(layout: ValueLayout) -> dict[str, Any]:
    """Return the record of a layout. The buffers become one flat list: offset, size, offset, size ..."""
    return {
        "format": layout.format,
        "head_bytes": layout.head_bytes,
        "buffers": [number for span in layout.buffers for number in span],
        "total_bytes": layout.total_bytes,
    }


def read_value(fields: Fields, content: memoryview, where: str) -> ValueBytes:
    """Return the content of a message as an encoded value.

    Args:
        fields: The record of the value's layout.
        content: The content of the message.
        where: Subject of error messages, such as "the arguments".

    Raises:
        ProtocolError: The layout is not valid, or does not fit the content.
    """
    numbers = fields.read("buffers", require_list)
    if len(numbers) % 2:
        raise ProtocolError(f"the last buffer of {where} has an offset, but no size")
    spans = [numbers[index : index + 2] for index in range(0, len(numbers), 2)]
    layout = require_layout(
        fields.read("format", require_str),
        fields.read("head_bytes", require_count),
        spans,
        fields.read("total_bytes", require_count),
    )
    if layout.total_bytes != content.nbytes:
        raise ProtocolError(f"expected {layout.total_bytes} bytes of {where}, got {content.nbytes}")
    return ValueBytes(layout, content, where)
