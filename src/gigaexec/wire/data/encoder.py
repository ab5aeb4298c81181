"""A value -> data, without pickle and without code. format.py draws the format.

Runs in the process of the program, which may have changed anything here: the decoder trusts none of it.
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
from gigaexec.wire.data.arrays_out import is_numpy, take_array, take_scalar
from gigaexec.wire.data.containers_out import CONTAINERS, take_dict, take_record
from gigaexec.wire.data.format import LEAF_TYPES, UnfitValueError
from gigaexec.wire.data.instances import type_name_of
from gigaexec.wire.data.simple_types import SIMPLE_TYPES, BigInt, SimpleType, SurrogateStr

_ADVICE_FOR_RESULTS = (
    'Return plain data instead, or allow pickles with SandboxPolicy(results="pickle"): '
    "results may then run code in the driver's process."
)
_ADVICE_FOR_ARGUMENTS = "Pass plain data instead, or send the arguments as a pickle if the agent allows it."

_TOO_MANY = (
    "is where the value exceeds {} items. An object that occurs twice counts twice; "
    "a numpy array counts as one"
)

_MESSAGEPACK_INTS = range(-(1 << 63), 1 << 64)

_ENCODER = msgspec.msgpack.Encoder()

# Returns the op code of a value, and the items that it is rebuilt from.
_TakeApart = Callable[[Any, "Encoding"], tuple[int, Sequence[Any]]]


class ValueNotDataError(Exception):
    """The value is not data, or exceeds a limit; the message says where, why and what to do."""


@dataclass(frozen=True, slots=True)
class EncodedData:
    """A value as data.

    Args:
        head: MessagePack, see format.py.
        buffers: Contents of arrays and large bytes, in order, each contiguous. They refer to the value's
            own memory where possible: send them before the value changes.
    """

    head: bytes
    buffers: list[memoryview]

    @property
    def size_bytes(self) -> int:
        """Bytes of the head and the buffers together."""
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)


def encode_data(
    value: Any,
    *,
    max_depth: int = fmt.DEFAULT_MAX_DEPTH,
    max_count: int = fmt.DEFAULT_MAX_COUNT,
    max_bytes: int | None = None,
    are_arguments: bool = False,
) -> EncodedData:
    """Encode a value that consists of data.

    These come back with their exact type: None, bool, int of any size, float, str, bytes, list, tuple, set,
    frozenset, dict, DataRecord, the types in `SIMPLE_TYPES`, numpy scalars and arrays without objects.

    These come back as a DataRecord, named `module.QualName`:

    - an enum member: fields `name` and `value`;
    - a named tuple: its `_fields`;
    - a dataclass instance: its fields in the order of the class, then its other attributes;
    - an instance of another class written in Python: the values of its `__slots__`, base classes first, then
      its `__dict__`. Attributes without a value are left out. Properties are not computed. Instances of the
      standard library's own classes are refused, except SimpleNamespace and argparse.Namespace.

    OrderedDict, defaultdict and Counter come back as dict, a numpy.memmap as an array. Instances of other
    subclasses of built-in types are refused, because a part of them would be lost silently. An object that
    occurs twice comes back as two objects.

    Args:
        value: The value.
        max_depth: Levels of nesting. Each object is one, except None, bool, int, float, str and bytes.
        max_count: Leaves, and separately containers. At most `LARGEST_MAX_COUNT`.
        max_bytes: Size of the head and the buffers together; None for no limit.
        are_arguments: True if the value is a call's `(args, kwargs)`. Then each part must arrive with its
            exact type: instances and dict subclasses are refused instead of becoming records and dicts.

    Raises:
        ValueNotDataError: A part of the value is not data, or contains itself, or a limit is exceeded. The
            message holds its place, as in `result['model'].layers[3]` or `kwargs['sizes'][0]`.
    """
    limits = (max_depth, max_count, max_bytes)
    try:
        return Encoding(*limits, are_arguments=are_arguments).encode(value)
    except _UnfitLeafError:
        # Rare. The first pass therefore does not check each int and each str.
        return Encoding(*limits, are_arguments=are_arguments, is_careful=True).encode(value)


class _UnfitLeafError(Exception):
    """MessagePack cannot hold an int or a str of the value."""


class _LimitError(Exception):
    """A limit is exceeded at a place that is not yet known."""


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
        is_careful: bool = False,
    ) -> None:
        self._max_depth = max_depth
        self._max_count = min(max_count, fmt.LARGEST_MAX_COUNT)
        self._max_bytes = max_bytes
        self._are_arguments = are_arguments
        self._root = "arguments" if are_arguments else "result"
        self._advice = _ADVICE_FOR_ARGUMENTS if are_arguments else _ADVICE_FOR_RESULTS
        self._is_careful = is_careful
        self._leaves: list[Any] = []
        self._ops = array("I")
        self._raw = bytearray()
        self._buffers: list[memoryview] = []
        self._buffer_bytes = 0
        # The innermost last. The first is a list that holds only the value.
        self._open: list[_Open] = []
        # Types that are not in `_TAKE_APART`, once their kind is known.
        self._learned: dict[type, _TakeApart] = {}

    def encode(self, value: Any) -> EncodedData:
        """Encode the value. Call once.

        Raises:
            ValueNotDataError: As `encode_data`.
            _UnfitLeafError: A leaf needs `is_careful`.
        """
        items: Sequence[Any] = (value,)
        if self._is_careful:
            items = _with_unfit_marked(items)
        self._open.append(_Open(None, fmt.LIST, items, iter(items)))
        try:
            self._walk()
        except UnfitValueError as refusal:
            raise ValueNotDataError(f"{self._place()} {refusal}. {self._advice}") from None
        except _LimitError as refusal:
            raise ValueNotDataError(f"{self._place()} {refusal}") from None
        except ValueNotDataError:
            raise
        except Exception as error:
            # Attributes are read and keys are hashed: code of the program runs, and may raise anything.
            raise ValueNotDataError(
                f"{self._place()} raised {type(error).__name__} when it was read. {self._advice}"
            ) from error
        return self._finish()

    def _finish(self) -> EncodedData:
        if sys.byteorder == "big":
            self._ops.byteswap()
        try:
            head = _ENCODER.encode((self._leaves, self._ops.tobytes(), self._raw))
        except (OverflowError, UnicodeEncodeError) as error:
            raise _UnfitLeafError from error
        self._check_size(len(head) + self._buffer_bytes)
        return EncodedData(head, self._buffers)

    def _check_size(self, size_bytes: int) -> None:
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise ValueNotDataError(
                f"{self._root} takes {size_bytes} bytes or more as data; the limit is {self._max_bytes} bytes"
            )

    def _walk(self) -> None:
        """Encode the items of the open container, and theirs, without recursion."""
        leaf_types, leaves, ops, opened = LEAF_TYPES, self._leaves, self._ops, self._open
        add_leaf, add_op, learned = leaves.append, ops.append, self._learned
        rest = opened[0].rest
        run = 0  # leaves that no op covers yet
        while True:
            for item in rest:
                if type(item) in leaf_types:
                    add_leaf(item)
                    run += 1
                    continue
                if run:
                    add_op(fmt.LEAVES | run << fmt.CODE_BITS)
                    run = 0
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
        """Return the function that takes apart a value whose type is not in `_TAKE_APART`."""
        kind = type(value)
        take_apart: _TakeApart
        if is_numpy(value, "ndarray"):
            take_apart = take_array
        elif is_numpy(value, "generic"):
            take_apart = take_scalar
        elif self._are_arguments:
            raise UnfitValueError(f"is a {type_name_of(kind)}, which is not data")
        elif kind in (OrderedDict, defaultdict, Counter):
            take_apart = take_dict
        else:
            take_apart = take_record
        self._learned[kind] = take_apart
        return take_apart

    def add_raw(self, value: bytes) -> None:
        """Append to the raw bytes."""
        self._raw += value

    def check_room(self, size_bytes: int) -> None:
        """Raise ValueNotDataError if a buffer of this size would exceed `max_bytes`, before it is copied."""
        self._check_size(self._buffer_bytes + size_bytes)

    def content(self, view: memoryview) -> bytes | int:
        """Return the item that stands for this content: the bytes, or the number of a new buffer."""
        return view.tobytes() if view.nbytes <= fmt.INLINE_CONTENT_BYTES else self.add_buffer(view)

    def add_buffer(self, view: memoryview) -> int:
        """Append a buffer and return its number. Raises ValueNotDataError above `max_bytes`."""
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
                    f"a value that contains itself is not data. {self._advice}"
                )
            first_at[id(container)] = level
        return _LimitError(f"is nested deeper than {self._max_depth} levels")

    def _place(self, level: int | None = None) -> str:
        """Return the place of the current item, or of the container at `level`: `result['a'].layers[3]`."""
        steps = [_step(opened) for opened in self._open[1:][:level]]
        if self._are_arguments and steps:
            steps[0] = "args" if steps[0] == "[0]" else "kwargs"
        else:
            steps.insert(0, self._root)
        place = "".join(steps)
        return place if len(place) <= 400 else f"{place[:200]}...{place[-200:]}"


def _step(opened: _Open) -> str:
    """Return how the current item is reached from its container."""
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
    return f"<{type(key).__name__}>"  # a repr may run code of the program, and be long


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
