"""R140: bytes from another machine quickly decode to a call or outcome, or raise one kind of error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from gigaexec.calls import CapturedOutput, ConfinementStep, ExecutionMetrics, LimitHit, Outcome, WorkerCall
from gigaexec.errors import MemoryExceededError
from gigaexec.limits import Limits
from gigaexec.wire.data import format as fmt
from gigaexec.wire.encoded import EncodedCall, EncodedOutcome
from gigaexec.wire.remote.calls import decode_call, encode_call
from gigaexec.wire.remote.message import RemoteFormatError
from gigaexec.wire.remote.outcomes import decode_outcome, encode_outcome

METRICS = ExecutionMetrics(1, 0.5, 0.25, 0.25, 7, "0123456789ab", "node", seed=2**63)
ERROR = MemoryExceededError(
    "m\ud800", stderr="s", hit=LimitHit("memory_bytes", 5, 6.5), output=CapturedOutput(), metrics=METRICS
)
CALL = b"".join(
    encode_call(
        EncodedCall.from_call(
            WorkerCall("code", "f", [1, "x", b"y" * 20_000], {"k": 2.5}, ["/p"], {"A": None, "B": "b"}, 5),
            deadline_s=5.5,
            queue_timeout_s=0,
            limits=Limits(memory_bytes=5, cpu_time_s=0.5),
        )
    )
)
OUTCOME = b"".join(
    encode_outcome(
        EncodedOutcome(
            Outcome(
                ERROR.status,
                error=ERROR,
                metrics=METRICS,
                confinement=(ConfinementStep("seccomp", True, "x"),),
            )
        )
    )
)
DECODERS: list[Callable[[bytes], object]] = [decode_call, decode_outcome]
SAMPLES = {"call": (decode_call, CALL), "outcome": (decode_outcome, OUTCOME)}


def framed(header: bytes, content: bytes = b"") -> bytes:
    return b"GXEC" + (1).to_bytes(4, "little") + len(header).to_bytes(8, "little") + header + content


def head_of(leaves: list[Any], *ops: int) -> bytes:
    packed = b"".join(op.to_bytes(4, sys.byteorder) for op in ops)
    return msgspec.msgpack.encode((leaves, packed, b""))


OPEN_DICT = [fmt.OPEN] * 100_000
COLLIDING = [n * ((1 << 61) - 1) for n in range(4)]

ATTACKS = {
    "nothing": b"",
    "a prefix alone": b"GXEC\1\0\0\0",
    "a header of 16 EB": b"GXEC\1\0\0\0" + b"\xff" * 8,
    "no header": framed(b""),
    "no data": framed(b"\xc1" * 100),
    "a list of 4 billion leaves": framed(b"\x93\xdd\xff\xff\xff\xff"),
    "a text of 4 GB": framed(b"\x93\x91\xdb\xff\xff\xff\xff"),
    "a million nested arrays": framed(b"\x93" + b"\x91" * 10**6),
    "deep lists": framed(head_of([], *OPEN_DICT)),
    "a number": framed(head_of([5], fmt.LEAVES | 1 << fmt.CODE_BITS)),
    "a list": framed(head_of(["kind"], fmt.LIST | 1 << fmt.CODE_BITS)),
    "a record": framed(head_of(["builtins.dict"], fmt.RECORD | 1 << fmt.CODE_BITS)),
    "a Decimal": framed(head_of(["1E+999999999"], fmt.DECIMAL | 1 << fmt.CODE_BITS)),
    "a key twice": framed(head_of(["kind", "kind", 1, 2], fmt.DICT | 4 << fmt.CODE_BITS)),
    "two million items": framed(head_of([None] * 2_000_000, fmt.LIST | 2_000_000 << fmt.CODE_BITS)),
}


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("message", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_bytes_give_one_kind_of_error_soon(decode: Callable[[bytes], object], message: bytes) -> None:
    began = time.thread_time()
    with pytest.raises(RemoteFormatError) as refusal:
        decode(message)
    assert time.thread_time() - began < 2
    assert len(str(refusal.value)) < 1000


def test_the_number_of_items_is_limited_before_they_are_made() -> None:
    with pytest.raises(RemoteFormatError, match="declares 2000000 leaves; the limit is 1000000"):
        decode_call(ATTACKS["two million items"])


@given(st.binary(max_size=80), st.booleans())
@settings(max_examples=300, deadline=None)
def test_random_bytes_give_a_message_or_the_error(data: bytes, is_framed: bool) -> None:
    for decode in DECODERS:
        with pytest.raises(RemoteFormatError):
            decode(framed(data) if is_framed else data)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@given(data=st.data())
@settings(max_examples=1000, deadline=None)
def test_changed_bytes_give_a_message_or_the_error(
    sample: tuple[Callable[[bytes], object], bytes], data: st.DataObject
) -> None:
    decode, original = sample
    # Only the header is changed; these decoders do not read the content.
    end = 16 + int.from_bytes(original[8:16], "little")
    places = st.integers(0, end - 1)
    message = bytearray(original)
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        message[place] = byte
    if data.draw(st.booleans()):
        del message[data.draw(places) :]
    try:
        decode(bytes(message))
    except RemoteFormatError:
        pass


LEAVES = st.sampled_from(
    [None, True, 0, -1, 2**63, 0.5, float("nan"), float("inf"), "", "x" * 1000, "\ud800"]
)
TREES = st.recursive(
    LEAVES | st.binary(max_size=5),
    lambda trees: st.lists(trees, max_size=3) | st.dictionaries(LEAVES, trees, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_fields_of_any_type_give_a_message_or_the_error(
    sample: tuple[Callable[[bytes], object], bytes], data: st.DataObject
) -> None:
    from gigaexec.wire.data.decoder import decode_data
    from gigaexec.wire.data.encoder import encode_data

    decode, original = sample
    end = 16 + int.from_bytes(original[8:16], "little")
    header = decode_data(original[16:end], [])
    target = header
    while True:
        name = data.draw(st.sampled_from(sorted(target)))
        if not isinstance(target[name], dict) or data.draw(st.booleans()):
            break
        target = target[name] or target
    target[name] = data.draw(TREES)
    changed = framed(encode_data(header).head)
    content = original[end + -end % 64 :]
    try:
        decode(changed + bytes(-len(changed) % 64) + content)
    except RemoteFormatError:
        pass
