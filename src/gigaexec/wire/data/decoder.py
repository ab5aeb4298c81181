"""Decode a value from the data format. The bytes may come from a hostile process.

format.py describes the format.

Attacks and defences:

run code            only types in a fixed table are built, from items whose types are checked
overflow C's stack  msgspec decodes only a flat array of scalars; `_walk` keeps its own stack
exhaust memory      the number of leaves is checked before msgspec allocates them
collide hashes      the CPU time of inserting keys is limited; see `HashingBudget`
corrupt numpy       dtypes are rebuilt from checked parts, and the contents of bool and str arrays are
                    checked (arrays_in.py)
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec

from gigaexec.errors import ValueNotReadableError
from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.containers_in import CONTAINER_MAKERS
from gigaexec.wire.data.format import BadDataError
from gigaexec.wire.data.hashing import HashingBudget
from gigaexec.wire.data.simple_types import SIMPLE_TYPES

_HEAD = msgspec.msgpack.Decoder(tuple[list[bool | int | float | str | None], bytes, bytes])

_Maker = Callable[[list[Any], "Decoding"], Any]


def decode_data(
    head: bytes | memoryview,
    buffers: Sequence[memoryview | bytes | bytearray],
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
    what: str = "the result",
) -> Any:
    """Return the value that `encode_data` encoded. All invalid input raises ValueNotReadableError.

    Large arrays use the buffers without a copy, and keep the buffers alive. A large array is writable if its
    buffer is writable. A small array is always writable. The contents of a buffer are checked only here, so
    do not change a buffer afterwards.

    Memory in addition to the buffers: at most 4 bytes per byte of the head (for text), 120 bytes per leaf,
    and 250 bytes per op. Time is linear in the size. Inserting colliding keys fails after a CPU time of at
    most a few times the budget, which is 0.5 s + 2 us per item.

    Args:
        head: The head in MessagePack, see format.py.
        buffers: Contents of large arrays and bytes objects. Any alignment is allowed. Arrays on aligned
            buffers are faster.
        max_depth: Maximum levels of nesting, counted as in `encode_data`.
        max_count: Maximum number of leaves; the same limit applies to the ops.
        what: Subject of error messages, such as "the arguments".

    Raises:
        ValueNotReadableError: The input is not valid, exceeds a limit, or contains a numpy value while numpy
            cannot be imported in this process.
    """
    try:
        return Decoding(buffers, max_depth, max_count, _MAKERS).decode(head)
    except BadDataError as error:
        raise ValueNotReadableError(f"{what} cannot be decoded: {error}") from None
    except Exception as error:
        # numpy, datetime, decimal and hash() raise exceptions of many classes for invalid arguments.
        raise ValueNotReadableError(f"{what} cannot be decoded: {_described(error)}") from error


def decode_plain(head: bytes | memoryview, *, max_depth: int, max_count: int) -> Any:
    """Decode a value that consists of lists, dicts, None, bool, 64-bit int, float, str and short bytes.

    The limits and arguments are the same as in `decode_data`. numpy is never imported.

    Raises:
        BadDataError: The head is not valid, contains another type, or exceeds a limit.
    """
    try:
        return Decoding((), max_depth, max_count, _PLAIN_MAKERS).decode(head)
    except BadDataError:
        raise
    except Exception as error:
        raise BadDataError(_described(error)) from error


def _described(error: Exception) -> str:
    try:
        text = str(error)
    except ValueError:  # the error contains an int of thousands of digits, which str() refuses
        text = ""
    # Shortened, because errors of other libraries may contain a whole argument.
    return f"{type(error).__name__}: {text[:300]}"


class Decoding:
    """The state of decoding one value."""

    def __init__(
        self,
        buffers: Sequence[memoryview | bytes | bytearray],
        max_depth: int,
        max_count: int,
        makers: Sequence[_Maker],
    ) -> None:
        self._buffers: list[memoryview | None] = [memoryview(buffer).cast("B") for buffer in buffers]
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self._makers = makers
        self.hashing = HashingBudget()

    def decode(self, head: bytes | memoryview) -> Any:
        """Return the value. Call only once, because the buffers are used up.

        Raises:
            Exception: The head is not valid: BadDataError, or an exception of another library.
        """
        leaf_count = _leaf_count(head)
        if leaf_count > self._max_count:
            raise BadDataError(f"the head declares {leaf_count} leaves; the limit is {self._max_count}")
        leaves, packed_ops, raw = _HEAD.decode(head)
        if len(packed_ops) % 4:
            raise BadDataError(f"the size of the ops, {len(packed_ops)} bytes, is not a multiple of 4")
        if len(packed_ops) // 4 > self._max_count:
            raise BadDataError(
                f"the head contains {len(packed_ops) // 4} ops; the limit is {self._max_count}"
            )
        ops = array("I", packed_ops)
        if sys.byteorder == "big":
            ops.byteswap()
        self.hashing.allow(len(leaves) + len(ops))
        values = self._walk(leaves, ops, raw)
        if len(values) != 1:
            raise BadDataError(f"expected one value, found {len(values)}")
        if any(buffer is not None for buffer in self._buffers):
            raise BadDataError("a buffer is not used by any value")
        return values[0]

    def _walk(self, leaves: list[Any], ops: Sequence[int], raw: bytes) -> list[Any]:
        """Execute the ops. Return the values that are in no container; valid input has exactly one."""
        makers, max_depth = self._makers, self._max_depth
        opened: list[list[Any]] = []
        made: list[Any] = []
        leaf_end = raw_end = 0
        for op in ops:
            code, number = op & fmt.CODE_MASK, op >> fmt.CODE_BITS
            if code >= fmt.LIST:
                if len(opened) >= max_depth:
                    raise BadDataError(f"the value is nested deeper than {max_depth} levels")
                start, leaf_end = leaf_end, leaf_end + number
                made.append(makers[code](leaves[start:leaf_end], self))
            elif code == fmt.LEAVES:
                start, leaf_end = leaf_end, leaf_end + number
                made += leaves[start:leaf_end]
            elif code == fmt.OPEN:
                if len(opened) >= max_depth:
                    raise BadDataError(f"the value is nested deeper than {max_depth} levels")
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
                made.append(bytes(self._take_buffer(number)))
        if opened:
            raise BadDataError(f"the ops open {len(opened)} containers without closing them")
        if leaf_end != len(leaves):
            raise BadDataError(f"the head contains {len(leaves)} leaves, but its ops use {leaf_end}")
        if raw_end != len(raw):
            raise BadDataError(f"the head contains {len(raw)} raw bytes, but its ops use {raw_end}")
        return made

    def _take_buffer(self, number: int) -> memoryview:
        """Return a buffer. Taking it twice is refused: arrays that share a buffer would change together."""
        if not 0 <= number < len(self._buffers):
            raise BadDataError(f"buffer {number} is missing: the value has {len(self._buffers)} buffers")
        buffer = self._buffers[number]
        if buffer is None:
            raise BadDataError(f"buffer {number} is used twice")
        self._buffers[number] = None
        return buffer

    def content(self, item: object) -> memoryview:
        """Return the content of an item: a writable copy if the item is bytes, a buffer if it is a number."""
        if type(item) is bytes:
            return memoryview(bytearray(item))
        if type(item) is not int:
            raise BadDataError(
                f"expected content as bytes or as the number of a buffer, got {type(item).__name__}"
            )
        return self._take_buffer(item)


def _leaf_count(head: bytes | memoryview) -> int:
    """Return the number of leaves that the head declares. Call before msgspec allocates the leaves."""
    # The second byte of the head starts the array of leaves. The MessagePack types of arrays are fixarray
    # (0x90 | n), array 16 (0xdc) and array 32 (0xdd).
    kind = head[1] if len(head) > 1 else 0
    if kind & 0xF0 == 0x90:
        return kind & 0x0F
    if kind not in (0xDC, 0xDD):
        raise BadDataError("the head does not start with an array of leaves")
    return int.from_bytes(head[2 : 4 if kind == 0xDC else 6], "big")


def _arrays() -> ModuleType:
    """Return the module arrays_in, which imports numpy. So numpy is imported with the first numpy value."""
    try:
        from gigaexec.wire.data import arrays_in
    except ImportError as error:
        raise BadDataError(
            f"the value contains numpy arrays or scalars, but numpy cannot be imported here: {error}. "
            "Install numpy, or let the program return lists and floats"
        ) from error
    return arrays_in


def _refuse_code(code: int, problem: str) -> _Maker:
    def refuse(_: list[Any], __: Decoding) -> Any:
        raise BadDataError(f"op code {code} {problem}")

    return refuse


_MAKERS: list[_Maker] = [_refuse_code(code, "is unknown") for code in range(1 << fmt.CODE_BITS)]
_PLAIN_MAKERS = _MAKERS.copy()
for _code, _maker in {
    **CONTAINER_MAKERS,
    **{each.code: each.make for each in SIMPLE_TYPES},
    fmt.ARRAY: lambda items, decoding: _arrays().make_array(items, decoding),
    fmt.NUMPY_SCALAR: lambda items, _: _arrays().make_scalar(items),
    fmt.NUMPY_STR: lambda items, _: _arrays().make_str(items),
    fmt.NUMPY_BYTES: lambda items, _: _arrays().make_bytes(items),
}.items():
    _MAKERS[_code] = _maker
    is_plain = _code in (fmt.LIST, fmt.DICT, fmt.SURROGATE_STR)
    _PLAIN_MAKERS[_code] = _maker if is_plain else _refuse_code(_code, "is not allowed in plain values")
