"""Encode a value in the data format, without pickle. format.py describes the format.

Results are encoded in the process of the program, which may have changed this code. So the decoder trusts
nothing in the encoded bytes.
"""

from __future__ import annotations

import reprlib
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import length_hint
from typing import Any, NamedTuple

import msgspec

from gigaexec.wire.data import format as fmt
from gigaexec.wire.data.arrays_out import is_numpy, take_array, take_exact_array, take_scalar
from gigaexec.wire.data.containers_out import CONTAINERS, take_dict, take_record
from gigaexec.wire.data.format import LEAF_TYPES, UnfitValueError
from gigaexec.wire.data.instances import type_name_of
from gigaexec.wire.data.repeats import Repeats
from gigaexec.wire.data.simple_types import SIMPLE_TYPES, BigInt, SimpleType, SurrogateStr

_ADVICE_FOR_RESULTS = (
    'Return plain data instead, or allow pickles with SandboxPolicy(results="pickle"): '
    "results may then run code in the driver's process."
)
_ADVICE_FOR_ARGUMENTS = "Pass plain data instead, or send the arguments as a pickle if the agent allows it."

_TOO_MANY = (
    "is where the value exceeds {} items. An object that occurs twice counts twice; "
    "the elements of a numpy array are not counted"
)

_MESSAGEPACK_INTS = range(-(1 << 63), 1 << 64)

_ENCODER = msgspec.msgpack.Encoder()

# A function that splits a value: it returns the op code, and the items from which the decoder rebuilds the
# value.
_TakeApart = Callable[[Any, "Encoding"], tuple[int, Sequence[Any]]]


class ValueNotDataError(Exception):
    """The data format cannot encode the value. The message says where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class EncodedData:
    """A value, encoded in the data format.

    Args:
        head: The head in MessagePack, see format.py.
        buffers: Contents of large arrays and bytes objects, each contiguous, in the order of their numbers.
            A buffer may be the value's own memory, so send the buffers before the value changes.
    """

    head: bytes
    buffers: list[memoryview]

    @property
    def size_bytes(self) -> int:
        """Size of the head and all buffers together."""
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)


def encode_data(
    value: Any,
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
    max_bytes: int | None = None,
    are_arguments: bool = False,
    is_exact: bool = False,
    is_paged: bool = False,
) -> EncodedData:
    """Encode a value in the data format.

    The decoder returns these types unchanged: None, bool, int of any size, float, str, bytes, list, tuple,
    set, frozenset, dict, DataRecord, the types in `SIMPLE_TYPES`, and numpy scalars and arrays without
    objects.

    The decoder returns a DataRecord with the type name `module.QualName` for:

    - an enum member: fields `name` and `value`;
    - a named tuple: the fields in `_fields`;
    - a dataclass instance: the fields in the order of the class, then other attributes;
    - an instance of another class written in Python: the values of `__slots__`, base classes first, then of
      `__dict__`. Attributes without a value are left out. Properties are not computed. Instances of the
      standard library's own classes are refused, except SimpleNamespace and argparse.Namespace.

    OrderedDict, defaultdict and Counter become a dict, and a numpy.memmap becomes an array. Instances of
    other subclasses of built-in types are refused, because a part of their contents would be lost silently.
    An object that occurs twice becomes two objects. With `is_exact`, all these values are refused.

    Args:
        value: A result, or the `(args, kwargs)` of a call.
        max_depth: Maximum levels of nesting. Every object adds a level, except None, bool, int, float, str
            and bytes.
        max_count: Maximum number of leaves; the same limit applies to the ops. At most `LARGEST_MAX_COUNT`.
        max_bytes: Maximum size of the head and the buffers together; None for no limit.
        are_arguments: True if the value is a call's `(args, kwargs)`. Then each part must arrive with its
            exact type: instances and dict subclasses are refused instead of becoming records and dicts.
        is_exact: True to refuse every value from which the decoder would not make what unpickling makes: as
            with `are_arguments`, and also a memmap, a dtype with metadata, and a mutable or large object that
            occurs twice.
        is_paged: True to put the leaves of a large value into pages, see format.py.

    Raises:
        ValueNotDataError: The data format cannot encode a part of the value, the value contains itself, or a
            limit is exceeded. The message contains the place in the value, such as
            `result['model'].layers[3]` or `kwargs['sizes'][0]`.
    """
    limits = (max_depth, max_count, max_bytes)
    options = {"are_arguments": are_arguments, "is_exact": is_exact, "is_paged": is_paged}
    try:
        return Encoding(*limits, **options).encode(value)
    except _UnfitLeafError:
        # Such a leaf is rare, so only this second pass checks each int and each str.
        return Encoding(*limits, **options, is_careful=True).encode(value)


def encode_leaf(value: bool | int | float | str | None) -> bytes | None:
    """Return the head of a value that is a single leaf, or None if only `encode_data` can encode the value.

    This takes a tenth of the time of `encode_data`. Most results are a single number.
    """
    try:
        return _ENCODER.encode(((value,), fmt.SINGLE_LEAF_OPS, b""))
    except (OverflowError, UnicodeEncodeError):
        return None


class _UnfitLeafError(Exception):
    """The value contains an int or a str that MessagePack cannot encode."""


class _LimitError(Exception):
    """A limit is exceeded. The handler in `encode` adds the place in the value to the message."""


class _Open(NamedTuple):
    """A container whose items are being encoded."""

    container: Any
    code: int
    items: Sequence[Any]
    rest: Iterator[Any]


class Encoding:
    """The state of encoding one value."""

    def __init__(
        self,
        max_depth: int,
        max_count: int,
        max_bytes: int | None,
        *,
        are_arguments: bool = False,
        is_exact: bool = False,
        is_paged: bool = False,
        is_careful: bool = False,
    ) -> None:
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self._max_bytes = max_bytes
        self._are_arguments = are_arguments
        self._is_exact = is_exact
        self._repeats = Repeats() if is_exact else None
        self._root = "arguments" if are_arguments else "result"
        self._advice = _ADVICE_FOR_ARGUMENTS if are_arguments else _ADVICE_FOR_RESULTS
        self._is_paged = is_paged
        self._is_careful = is_careful
        self._leaves: list[Any] = []
        self._ops = array("I")
        self._raw = bytearray()
        self._buffers: list[memoryview] = []
        self._buffer_bytes = 0
        # The open containers, the innermost last. The first container is a list that contains only the value.
        self._open: list[_Open] = []
        # The functions that `_learn` has chosen for types that are not in `_TAKE_APART`.
        self._learned: dict[type, _TakeApart] = {}

    def encode(self, value: Any) -> EncodedData:
        """Encode the value. Call only once.

        Raises:
            ValueNotDataError: See `encode_data`.
            _UnfitLeafError: MessagePack cannot encode a leaf. A new Encoding with `is_careful` can.
        """
        items: Sequence[Any] = (value,)
        if self._is_careful:
            items = _with_unfit_marked(items)
        self._open.append(_Open(None, fmt.LIST, items, iter(items)))
        try:
            self._walk()
            if self._repeats is not None:
                self._repeats.check_leaves(self._leaves)
        except UnfitValueError as refusal:
            raise ValueNotDataError(f"{self._place()} {refusal}. {self._advice}") from None
        except _LimitError as refusal:
            raise ValueNotDataError(f"{self._place()} {refusal}") from None
        except ValueNotDataError:
            raise
        except Exception as error:
            # Reading attributes and hashing keys runs code of the program, which may raise any exception.
            raise ValueNotDataError(
                f"{self._place()} raised {type(error).__name__} when it was read. {self._advice}"
            ) from error
        return self._finish()

    def _finish(self) -> EncodedData:
        try:
            pages = self._take_pages()
            ops = array("I", pages) + self._ops
            if sys.byteorder == "big":
                ops.byteswap()
            head = _ENCODER.encode((self._leaves, ops.tobytes(), self._raw))
        except (OverflowError, UnicodeEncodeError) as error:
            raise _UnfitLeafError from error
        self._check_size(len(head) + self._buffer_bytes)
        return EncodedData(head, self._buffers)

    def _take_pages(self) -> list[int]:
        """Move all leaves after the first `PAGE_LEAVES` into pages. Return the ops of the pages."""
        leaves, size = self._leaves, fmt.PAGE_LEAVES
        if not self._is_paged or len(leaves) <= size:
            return []
        pages = [_ENCODER.encode(leaves[start : start + size]) for start in range(size, len(leaves), size)]
        del leaves[size:]
        return [fmt.PAGE | self.add_buffer(memoryview(page)) << fmt.CODE_BITS for page in pages]

    def _check_size(self, size_bytes: int) -> None:
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise ValueNotDataError(
                f"{self._root}: at least {size_bytes} bytes in the data format, limit {self._max_bytes} bytes"
            )

    def _walk(self) -> None:
        """Encode the items of the open container and all items nested in them, without recursion."""
        leaf_types, leaves, ops, opened = LEAF_TYPES, self._leaves, self._ops, self._open
        add_leaf, add_op, learned = leaves.append, ops.append, self._learned
        check_repeat = self._repeats.check if self._repeats is not None else None
        rest = opened[0].rest
        run = 0  # number of leaves for which no op was added yet
        while True:
            for item in rest:
                if type(item) in leaf_types:
                    add_leaf(item)
                    run += 1
                    continue
                if run:
                    add_op(fmt.LEAVES | run << fmt.CODE_BITS)
                    run = 0
                if check_repeat is not None:
                    check_repeat(item)
                take_apart = _TAKE_APART.get(type(item)) or learned.get(type(item)) or self._learn(item)
                if len(opened) > self._max_depth and type(item) is not bytes:
                    raise self._too_deep(item)
                code, items = take_apart(item, self)
                if self._is_careful:
                    items = _with_unfit_marked(items)
                if len(leaves) + len(items) > self._max_count or len(ops) > self._max_count:
                    raise _LimitError(_TOO_MANY.format(self._max_count))
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
        """Choose and remember the function that splits values of a type that is not in `_TAKE_APART`."""
        kind = type(value)
        take_apart: _TakeApart
        if is_numpy(value, "ndarray"):
            take_apart = take_exact_array if self._is_exact else take_array
        elif is_numpy(value, "generic"):
            take_apart = take_scalar
        elif self._are_arguments or self._is_exact:
            raise UnfitValueError(f"is a {type_name_of(kind)}, which the data format cannot encode")
        elif kind in (OrderedDict, defaultdict, Counter):
            take_apart = take_dict
        else:
            take_apart = take_record
        self._learned[kind] = take_apart
        return take_apart

    def add_raw(self, value: bytes) -> None:
        """Append the contents of a bytes object to the raw bytes."""
        self._raw += value

    def check_room(self, size_bytes: int) -> None:
        """Raise ValueNotDataError if one more buffer of this size would make the value exceed `max_bytes`."""
        self._check_size(self._buffer_bytes + size_bytes)

    def content(self, view: memoryview) -> bytes | int:
        """Return the item for this content: the bytes if they are short, else the number of a new buffer."""
        return view.tobytes() if view.nbytes <= fmt.INLINE_CONTENT_BYTES else self.add_buffer(view)

    def add_buffer(self, view: memoryview) -> int:
        """Append a buffer and return its number. Raises ValueNotDataError if the size exceeds `max_bytes`."""
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
                    f"the data format cannot encode a value that contains itself. {self._advice}"
                )
            first_at[id(container)] = level
        return _LimitError(f"is nested deeper than {self._max_depth} levels")

    def _place(self, level: int | None = None) -> str:
        """Return the place of the current item or of the container at `level`, as in `result['a'].x[3]`."""
        steps = [_step(opened) for opened in self._open[1:][:level]]
        if self._are_arguments and steps:
            steps[0] = "args" if steps[0] == "[0]" else "kwargs"
        else:
            steps.insert(0, self._root)
        place = "".join(steps)
        return place if len(place) <= 160 else f"{place[:80]}...{place[-80:]}"


def _step(opened: _Open) -> str:
    """Return the place of the current item in its container, such as `[3]` or `.layers`."""
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
    if type(key) in LEAF_TYPES:
        return reprlib.repr(key)
    return f"<{type(key).__name__}>"  # repr() may run code of the program, and return a long text


def _with_unfit_marked(items: Sequence[Any]) -> Sequence[Any]:
    return [_mark_if_unfit(item) for item in items]


def _mark_if_unfit(item: Any) -> Any:
    if type(item) is int and item not in _MESSAGEPACK_INTS:
        return BigInt(item)
    if type(item) is str and not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError:
            return SurrogateStr(item)
    return item


def _take_bytes(value: bytes, encoding: Encoding) -> tuple[int, Sequence[Any]]:
    if len(value) <= fmt.INLINE_CONTENT_BYTES:
        encoding.add_raw(value)
        return fmt.BYTES | len(value) << fmt.CODE_BITS, ()
    return fmt.LARGE_BYTES | encoding.add_buffer(memoryview(value)) << fmt.CODE_BITS, ()


def _with_code(each: SimpleType) -> _TakeApart:
    code, take_apart = each.code, each.take_apart
    return lambda value, encoding: (code, take_apart(value, encoding))


_TAKE_APART: dict[type, _TakeApart] = {
    **CONTAINERS,
    bytes: _take_bytes,
    **{each.kind: _with_code(each) for each in SIMPLE_TYPES},
}
