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

import ctypes
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import msgspec

from gigaexec.errors import ValueNotReadableError
from gigaexec.untrusted.plain_values import loaded_numpy
from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.containers_in import CONTAINER_MAKERS
from gigaexec.wire.data.format import BadDataError
from gigaexec.wire.data.hashing import HashingBudget
from gigaexec.wire.data.simple_types import SIMPLE_TYPES

_Leaf = bool | int | float | str | None
HEAD = msgspec.msgpack.Decoder(tuple[list[_Leaf], bytes, bytes])
_PAGE = msgspec.msgpack.Decoder(list[_Leaf])

# Ops between two calls of `pause`, and leaves that are copied between two calls.
_OPS_PER_STEP = 256
_LEAVES_PER_STEP = 128 * 1024
# Contents of this size are copied with the GIL released.
_LARGE_BYTES = 1024 * 1024

_Maker = Callable[[list[Any], "Decoding"], Any]


def decode_data(
    head: bytes | memoryview,
    buffers: Sequence[memoryview | bytes | bytearray],
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
    what: str = "the result",
    pause: Callable[[], None] | None = None,
) -> Any:
    """Return the value that `encode_data` encoded. All invalid input raises ValueNotReadableError.

    Large arrays use the buffers without a copy, and keep the buffers alive. A large array is writable if its
    buffer is writable. A small array is always writable. The contents of a buffer are checked only here, so
    do not change a buffer afterwards.

    Memory in addition to the buffers: at most 4 bytes per byte of the head (for text), 120 bytes per leaf,
    and 250 bytes per op. Time is linear in the size. Inserting colliding keys fails after a CPU time of at
    most a few times the budget, which is 20 ms + 2 us per item.

    Args:
        head: The head in MessagePack, see format.py.
        buffers: Contents of large arrays and bytes objects. Any alignment is allowed. Arrays on aligned
            buffers are faster.
        max_depth: Maximum levels of nesting, counted as in `encode_data`.
        max_count: Maximum number of leaves; the same limit applies to the ops.
        what: Subject of error messages, such as "the arguments".
        pause: Called between steps of about 1 ms, so that another thread gets the GIL; None for no pauses.

    Raises:
        ValueNotReadableError: The input is not valid, exceeds a limit, or contains a numpy value while numpy
            cannot be imported in this process.
    """
    try:
        return Decoding(buffers, max_depth, max_count, _MAKERS, pause).decode(head)
    except BadDataError as error:
        raise ValueNotReadableError(f"{what} cannot be decoded: {error}") from None
    except Exception as error:
        # numpy, datetime, decimal and hash() raise exceptions of many classes for invalid arguments.
        raise ValueNotReadableError(f"{what} cannot be decoded: {_described(error)}") from error


QUICK_HEAD_BYTES = 8 * 1024
"""Maximum size of a head that `decode_quickly` decodes."""

# CPU time that the keys of a small value may take: far more than 8 KiB of honest keys need.
_QUICK_HASHING_S = 0.001


def decode_quickly(head: bytes) -> Any:
    """Decode a small value, or raise if this could take more than 5 ms, so that an event loop may call this.

    At most 3 ms of CPU time: for heads of up to `QUICK_HEAD_BYTES`, without buffers and without time zones
    (which are read from disk), and only if numpy values need no import of numpy.

    Raises:
        BadDataError: The value is not small enough, or not valid. `decode_data` finds out which.
    """
    if len(head) > QUICK_HEAD_BYTES:
        raise BadDataError(f"the head has more than {QUICK_HEAD_BYTES} bytes")
    makers = _QUICK_MAKERS if loaded_numpy() is not None else _QUICK_MAKERS_WITHOUT_NUMPY
    decoding = Decoding((), fmt.DEFAULT_MAX_DEPTH, fmt.DEFAULT_MAX_COUNT, makers)
    decoding.hashing_s = _QUICK_HASHING_S
    try:
        return decoding.decode(head)
    except Exception as error:  # numpy, datetime and others raise exceptions of many classes
        raise BadDataError("not decoded") from error


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
        pause: Callable[[], None] | None = None,
    ) -> None:
        self._buffers: list[memoryview | None] = [memoryview(buffer).cast("B") for buffer in buffers]
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self._makers = makers
        self._pause = pause if pause is not None else _do_not_pause
        self.hashing = HashingBudget(self._pause)
        self.hashing_s: float | None = None
        """CPU time that inserting keys may take; None for a time that depends on the size of the value."""

    def decode(self, head: bytes | memoryview) -> Any:
        """Return the value. Call only once, because the buffers are used up.

        Raises:
            Exception: The head is not valid: BadDataError, or an exception of another library.
        """
        self._check_leaf_count(_array_length(head, 1))
        leaves, packed_ops, raw = HEAD.decode(head)
        if len(packed_ops) % 4:
            raise BadDataError(f"the size of the ops, {len(packed_ops)} bytes, is not a multiple of 4")
        if len(packed_ops) // 4 > self._max_count:
            raise BadDataError(
                f"the head contains {len(packed_ops) // 4} ops; the limit is {self._max_count}"
            )
        ops = array("I", packed_ops)
        if sys.byteorder == "big":
            ops.byteswap()
        ops = self._add_pages(leaves, ops)
        if self.hashing_s is not None:
            self.hashing.allow_only(self.hashing_s)
        else:
            self.hashing.allow(len(leaves) + len(ops))
        values = self._walk(leaves, ops, raw)
        if len(values) != 1:
            raise BadDataError(f"expected one value, found {len(values)}")
        if any(buffer is not None for buffer in self._buffers):
            raise BadDataError("a buffer is not used by any value")
        return values[0]

    def _check_leaf_count(self, count: int) -> None:
        if count > self._max_count:
            raise BadDataError(f"the head declares {count} leaves; the limit is {self._max_count}")

    def _add_pages(self, leaves: list[Any], ops: array[int]) -> array[int]:
        """Append the leaves in pages to `leaves`, and return the ops after those of the pages."""
        count = 0
        while count < len(ops) and ops[count] & fmt.CODE_MASK == fmt.PAGE:
            page = self._take_buffer(ops[count] >> fmt.CODE_BITS)
            self._check_leaf_count(len(leaves) + _array_length(page, 0))
            leaves += _PAGE.decode(page)
            count += 1
            self._pause()
        return ops[count:] if count else ops

    def _walk(self, leaves: list[Any], ops: Sequence[int], raw: bytes) -> list[Any]:
        """Execute the ops. Return the values that are in no container; valid input has exactly one."""
        makers, max_depth = self._makers, self._max_depth
        opened: list[list[Any]] = []
        made: list[Any] = []
        leaf_end = raw_end = 0
        for index, op in enumerate(ops):
            if not index % _OPS_PER_STEP:
                self._pause()
            code, number = op & fmt.CODE_MASK, op >> fmt.CODE_BITS
            if code >= fmt.LIST:
                if len(opened) >= max_depth:
                    raise BadDataError(f"the value is nested deeper than {max_depth} levels")
                start, leaf_end = leaf_end, leaf_end + number
                made.append(makers[code](leaves[start:leaf_end], self))
            elif code == fmt.LEAVES:
                start, leaf_end = leaf_end, leaf_end + number
                if number <= _LEAVES_PER_STEP:
                    made += leaves[start:leaf_end]
                else:
                    self._copy_leaves(leaves, start, leaf_end, made)
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
                made.append(_as_bytes(self._take_buffer(number)))
        if opened:
            raise BadDataError(f"the ops open {len(opened)} containers without closing them")
        if leaf_end != len(leaves):
            raise BadDataError(f"the head contains {len(leaves)} leaves, but its ops use {leaf_end}")
        if raw_end != len(raw):
            raise BadDataError(f"the head contains {len(raw)} raw bytes, but its ops use {raw_end}")
        return made

    def _copy_leaves(self, leaves: list[Any], start: int, end: int, made: list[Any]) -> None:
        for begin in range(start, end, _LEAVES_PER_STEP):
            made += leaves[begin : min(begin + _LEAVES_PER_STEP, end)]
            self._pause()

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


def _array_length(packed: bytes | memoryview, start: int) -> int:
    """Return the number of items of the array at `start`. Call before msgspec allocates the items.

    The array of leaves starts at the second byte of the head, and at the first byte of a page.
    """
    # The MessagePack types of arrays are fixarray (0x90 | n), array 16 (0xdc) and array 32 (0xdd).
    kind = packed[start] if len(packed) > start else 0
    if kind & 0xF0 == 0x90:
        return kind & 0x0F
    if kind not in (0xDC, 0xDD):
        raise BadDataError("the head or a page does not start with an array of leaves")
    return int.from_bytes(packed[start + 1 : start + (3 if kind == 0xDC else 5)], "big")


def _do_not_pause() -> None:
    pass


def _as_bytes(content: memoryview) -> bytes:
    if content.nbytes < _LARGE_BYTES or content.readonly:
        return bytes(content)
    # bytes(content) would hold the GIL: 30 ms for 50 MB, most of it page faults. Nothing else has a
    # reference to the new object yet, so it may still be filled.
    made = bytes(content.nbytes)
    ctypes.memmove(
        ctypes.c_char_p(made), (ctypes.c_char * content.nbytes).from_buffer(content), content.nbytes
    )
    return made


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


_NUMPY_CODES = {fmt.ARRAY, fmt.NUMPY_SCALAR, fmt.NUMPY_STR, fmt.NUMPY_BYTES}
_PLAIN_CODES = {fmt.LIST, fmt.DICT, fmt.SURROGATE_STR}

_KNOWN: dict[int, _Maker] = {
    **CONTAINER_MAKERS,
    **{each.code: each.make for each in SIMPLE_TYPES},
    fmt.ARRAY: lambda items, decoding: _arrays().make_array(items, decoding),
    fmt.NUMPY_SCALAR: lambda items, _: _arrays().make_scalar(items),
    fmt.NUMPY_STR: lambda items, _: _arrays().make_str(items),
    fmt.NUMPY_BYTES: lambda items, _: _arrays().make_bytes(items),
}


def _makers_of(allowed: Iterable[int], place: str) -> list[_Maker]:
    makers = [_refuse_code(code, "is unknown") for code in range(1 << fmt.CODE_BITS)]
    for code, maker in _KNOWN.items():
        makers[code] = maker if code in allowed else _refuse_code(code, f"is not allowed in {place}")
    return makers


_MAKERS = _makers_of(_KNOWN, "values")
_PLAIN_MAKERS = _makers_of(_PLAIN_CODES, "plain values")
_QUICK_MAKERS = _makers_of(_KNOWN.keys() - {fmt.ZONE_INFO}, "quick values")
_QUICK_MAKERS_WITHOUT_NUMPY = _makers_of(_KNOWN.keys() - {fmt.ZONE_INFO} - _NUMPY_CODES, "quick values")
