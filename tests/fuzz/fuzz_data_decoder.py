"""Fuzz the data decoder, guided by coverage.

Run: `pip install -e . --group fuzz`, then `nice python tests/fuzz/fuzz_data_decoder.py --seconds 120`.
The exit status is 0 if no input fails. Otherwise the output names a file with the failing input; pass that
file as an argument to run this input alone.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import sys
import tempfile
import time
import uuid
import zoneinfo
from pathlib import Path
from typing import Any

import atheris
import msgspec
import numpy as np

with atheris.instrument_imports(include=["gigaexec"]):
    from gigaexec.errors import ValueNotReadableError
    from gigaexec.untrusted.json_text import safe_repr
    from gigaexec.wire.data import format as fmt
    from gigaexec.wire.data.decoder import decode_data
    from gigaexec.wire.data.encoder import encode_data
    from gigaexec.wire.data.record import DataRecord
    from gigaexec.wire.data.simple_types import SIMPLE_TYPES

# Far above the time for any valid input of this size, far below libFuzzer's own limit.
_MAX_CPU_S = 5.0
_MAX_INPUT_BYTES = 4096

_STRUCTURE = np.dtype([("a", "u1"), ("b", ">f8", (2,)), ("c", "?"), ("d", "U2")], align=True)
_SEEDS: list[Any] = [
    *(
        None,
        [1, (2.5, {"a": {3}, (4, 5): b"x"})],
        2**70,
        1j,
        "\ud800",
        bytearray(3),
        frozenset({frozenset()}),
    ),
    *(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), datetime.time(1), datetime.timedelta(1)),
    *(
        zoneinfo.ZoneInfo("Europe/Berlin"),
        decimal.Decimal("1.5"),
        uuid.UUID(int=5),
        DataRecord("m.C", {"a": 1}),
    ),
    *(np.arange(6.0).reshape(2, 3), np.zeros(2, "?"), np.zeros((2, 0), "M8[ns]"), np.array(["ab"])),
    *(np.array([5]).view("M8"), [2**70, np.zeros((1, 1), _STRUCTURE)]),
    *(np.zeros(3, _STRUCTURE), np.float64(1.5), np.int8(3), np.str_("a"), np.bytes_(b"a"), np.complex64(1)),
]
# Leaves with a meaning to the decoder, which mutation of bytes rarely produces.
_LEAVES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, 8, 64, -1, 2**31, 2**63, 2**64 - 1, 0.5, float("nan"), 1e308, "", "a"),
    *(
        "C",
        "F",
        "<f8",
        "|b1",
        "<U2",
        ">U1",
        "|V8",
        "|S3",
        "<M8[ns]",
        "<M8",
        "<i8",
        "<c16",
        "<f16",
        "|u1",
        "|O",
    ),
    *(fmt.STRUCTURE, fmt.SUBARRAY, "UTC", "Europe/Berlin", "../x", "1E+999999999999999999", "NaN", "sNaN"),
]
_LAST_CODE = max(fmt.NUMPY_BYTES, *(each.code for each in SIMPLE_TYPES))
_MAKING_CODES = [*range(fmt.LIST, _LAST_CODE + 2)]  # the last code is undefined


def test_one_input(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    head = _head_of_ops(provider) if provider.ConsumeBool() else provider.ConsumeBytes(_MAX_INPUT_BYTES)
    buffers = [
        memoryview(bytearray(provider.ConsumeIntInRange(0, 64))) for _ in range(head[-1] % 3 if head else 0)
    ]
    began = time.thread_time()
    try:
        value = decode_data(head, buffers)
    except ValueNotReadableError:
        value = None
    else:
        _use(value)
    cpu_s = time.thread_time() - began
    if cpu_s > _MAX_CPU_S:
        raise AssertionError(
            f"decoding {len(head)} bytes took {cpu_s:.1f} s of CPU time, limit {_MAX_CPU_S} s"
        )


def _head_of_ops(provider: Any) -> bytes:
    """Return a well-formed head with random ops and leaves."""
    leaves: list[Any] = []
    ops: list[int] = []
    raw = bytearray()
    opened = 0
    for _ in range(provider.ConsumeIntInRange(1, 40)):
        choice = provider.ConsumeIntInRange(0, 8)
        number = provider.ConsumeIntInRange(0, 9)
        if choice == 0:
            ops.append(fmt.OPEN)
            opened += 1
        elif choice in (1, 2) and opened:
            ops.append(fmt.CLOSE | provider.PickValueInList(_MAKING_CODES) << fmt.CODE_BITS)
            opened -= 1
        elif choice == 3:
            raw += provider.ConsumeBytes(number)
            ops.append(fmt.BYTES | number << fmt.CODE_BITS)
        elif choice == 8:
            # An int too large for MessagePack, possibly in the place of a size.
            size_bytes = provider.PickValueInList([9, 2_000_000])
            raw += b"\x7f" * size_bytes
            ops += [fmt.OPEN, fmt.BYTES | size_bytes << fmt.CODE_BITS]
            ops.append(fmt.CLOSE | fmt.BIG_INT << fmt.CODE_BITS)
        elif choice == 4:
            ops.append(fmt.LARGE_BYTES | number << fmt.CODE_BITS)
        else:
            leaves += [_leaf(provider) for _ in range(number)]
            code = fmt.LEAVES if choice == 5 else provider.PickValueInList(_MAKING_CODES)
            ops.append(code | number << fmt.CODE_BITS)
    while opened:
        ops.append(fmt.CLOSE | fmt.LIST << fmt.CODE_BITS)
        opened -= 1
    if provider.ConsumeBool():
        ops = [fmt.OPEN, *ops, fmt.CLOSE | fmt.LIST << fmt.CODE_BITS]
    packed = b"".join(op.to_bytes(4, sys.byteorder) for op in ops)
    return msgspec.msgpack.encode((leaves, packed, raw))


def _leaf(provider: Any) -> Any:
    choice = provider.ConsumeIntInRange(0, 9)
    if choice == 0:
        return provider.ConsumeInt(8)
    if choice == 1:
        return provider.ConsumeUnicodeNoSurrogates(12)
    if choice == 2:
        return provider.ConsumeFloat()
    return provider.PickValueInList(_LEAVES)


def _use(value: Any) -> None:
    """Encode a decoded value again, print it and index arrays with it; none of these may fail."""
    encoded = encode_data(value)
    again = decode_data(encoded.head, [memoryview(bytearray(buffer)) for buffer in encoded.buffers])
    # Sets have no order, so compare only the sorted characters.
    assert sorted(_shown(again)) == sorted(_shown(value)), f"{_shown(again)} from {_shown(value)}"
    safe_repr(value)
    for array in _arrays_in(value):
        array.tolist()
        if array.dtype.kind == "b" and array.size:
            assert np.ones(array.shape)[array].size == np.count_nonzero(array)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # a numpy date without unit, or an int with too many digits
        return safe_repr(value)


def _arrays_in(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _arrays_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _arrays_in(item)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long to run (default: 60)")
    parser.add_argument("input", nargs="?", help="a file that holds one input, to run alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as corpus:
        for number, value in enumerate(_SEEDS):
            # FuzzedDataProvider reads the last byte first: an even one selects raw bytes, not random ops.
            Path(corpus, str(number)).write_bytes(encode_data(value).head + b"\0")
        arguments = [options.input] if options.input else [corpus, f"-max_total_time={options.seconds}"]
        arguments.append(f"-artifact_prefix={tempfile.gettempdir()}/")
        atheris.Setup([sys.argv[0], *arguments, f"-max_len={_MAX_INPUT_BYTES}"], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
