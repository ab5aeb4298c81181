"""Convert untrusted values to safe text: JSON in one line, or a repr that runs no code of a program."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from types import EllipsisType, NoneType
from typing import Any

from gigaexec.untrusted.plain_values import is_a, is_numpy_data, type_name

# Maximum length of a text. Writing this many characters takes a second, and nobody reads more.
_MOST_CHARACTERS = 100_000_000
# An int with fewer bits than this has fewer than 640 digits, the lowest limit that Python allows in
# `sys.set_int_max_str_digits`.
_BITS_ALWAYS_WRITTEN = 2048
_SHOWN_BY_REPR = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    range,
    set,
    frozenset,
    EllipsisType,
)


def json_line(value: object) -> str:
    """Return `value` as JSON in one line that is safe for a terminal.

    Letters of every language stay readable. Control characters, bidirectional overrides, lone surrogates
    and other unprintable characters are written as `\\u` escapes, so no information is lost.

    Raises:
        TypeError: A part of the value has a type that JSON cannot represent.
        ValueError: The value contains NaN, an infinity or itself.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def is_json(value: Any) -> bool:
    """True if JSON can represent the value (tuples as arrays) in at most 100 million characters."""
    try:
        return _json_size(value, {}) <= _MOST_CHARACTERS
    except RecursionError:  # the value is nested deeper than the encoder can recurse
        return False


def metric_as_json(value: Any) -> object:
    """Return a metric as a value that JSON can represent.

    NaN and infinities become None. Other values that JSON cannot represent become text, see `safe_repr`.
    """
    if is_a(value, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else None
    return value if is_json(value) else safe_repr(value)


def safe_repr(value: object, *, most_characters: int = _MOST_CHARACTERS) -> str:
    """Return the repr of a value, without running code of the program.

    Only the reprs of builtin types and numpy types are used. An instance of another class is shown as
    `<Name object>`.

    Args:
        value: Any object.
        most_characters: Approximate maximum length. A longer text is cut and ends with `...`.
    """
    text: list[str] = []
    room = most_characters
    try:
        for piece in _pieces(value, most_characters):
            if len(piece) > room:
                return "".join([*text, piece[:room], "..."])
            room -= len(piece)
            text.append(piece)
    except RecursionError:  # the value contains itself, or is nested too deep
        return _as_object(value)
    return "".join(text)


def _json_size(value: Any, sizes: dict[int, float]) -> float:
    """Estimate the length of the JSON text in characters; infinite if JSON cannot represent the value.

    A small value can have a huge text: a list that contains a second list twice, which contains a third list
    twice, and so on. So each container is measured once, and `sizes` caches the result by id.
    """
    kind = type(value)
    if value is None or kind is bool:
        return 5
    if kind is str:
        return len(value) + 2
    if kind is int:
        return value.bit_length() // 3 + 2 if _has_digits(value) else math.inf
    if kind is float:
        return 24 if math.isfinite(value) else math.inf
    if kind is not list and kind is not tuple and kind is not dict:
        return math.inf
    if id(value) not in sizes:
        sizes[id(value)] = math.inf  # the result for a container that contains itself
        size: float = 2
        if kind is dict:
            size += sum(len(key) + 4 if type(key) is str else math.inf for key in value)
        for item in value.values() if kind is dict else value:
            size += _json_size(item, sizes) + 2
        sizes[id(value)] = size
    return sizes[id(value)]


def _pieces(value: Any, most: int) -> Iterator[str]:
    """Return the repr of a value in pieces. A piece is not much longer than a few times `most` characters."""
    kind = type(value)
    if kind is list:
        yield from _enclosed("[", value, "]", most)
    elif kind is tuple:
        yield from _enclosed("(", value, ",)" if len(value) == 1 else ")", most)
    elif kind is dict:
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield ", " if index else ""
            yield from _pieces(key, most)
            yield ": "
            yield from _pieces(item, most)
        yield "}"
    elif kind is set and value:
        yield from _enclosed("{", value, "}", most)
    elif kind is frozenset and value:
        yield from _enclosed("frozenset({", value, "})", most)
    elif kind is int and not _has_digits(value):
        yield f"<int of {value.bit_length()} bits>"
    elif kind is str or kind is bytes or kind is bytearray:
        # The repr of the whole value can take ten times the memory of the value.
        yield repr(value if len(value) <= most else value[: most + 1])
    elif any(kind is shown for shown in _SHOWN_BY_REPR):
        yield repr(value)
    elif is_numpy_data(value) and value.dtype.itemsize <= most:
        yield _numpy_repr(value)
    else:
        yield _as_object(value)


def _enclosed(opening: str, items: Iterable[Any], closing: str, most: int) -> Iterator[str]:
    yield opening
    for index, item in enumerate(items):
        if index:
            yield ", "
        yield from _pieces(item, most)
    yield closing


def _numpy_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - numpy may raise any exception
        # numpy cannot format some values, such as dates without a unit. The class name is shown instead.
        return _as_object(value)


def _as_object(value: object) -> str:
    return f"<{type_name(value)} object>"


def _has_digits(number: int) -> bool:
    """True if Python can convert the number to decimal. By default, the limit is 4,300 digits."""
    if number.bit_length() < _BITS_ALWAYS_WRITTEN:
        return True
    try:
        int.__repr__(number)
    except ValueError:
        return False
    return True


def _escape(character: str) -> str:
    # JSON writes characters above U+FFFF as a pair of surrogates.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2))
