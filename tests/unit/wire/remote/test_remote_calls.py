"""R140: calls as bytes. Arguments arrive exactly, and stay encoded until the worker decodes them."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gigaexec.calls import ValueLayout, WorkerCall
from gigaexec.errors import ConfigurationError, InvalidCallError
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.arguments_in import load_arguments
from gigaexec.wire.arguments_out import SharedArgument
from gigaexec.wire.encoded import EncodedCall
from gigaexec.wire.messages import CallHeader, ReceivedCall
from gigaexec.wire.remote.calls import decode_call, encode_call
from gigaexec.wire.remote.message import RemoteFormatError, encode_message
from gigaexec.wire.values_in import ValueBytes

CODE = "def f(x): return x"


def encoded(*args: Any, arguments_as: ResultFormat = ResultFormat.DATA, **kwargs: Any) -> EncodedCall:
    call = WorkerCall(CODE, "f", list(args), kwargs)
    return EncodedCall.from_call(call, deadline_s=5, arguments_as=arguments_as)


def message_of(call: EncodedCall) -> bytes:
    return b"".join(encode_call(call))


def header_with(**changes: Any) -> bytes:
    """Return a message with changed header fields; the value `...` removes a field."""
    header = {
        "kind": "call",
        "code": CODE,
        "function_name": "f",
        "python_path": [],
        "env": {},
        "seed": None,
        "deadline_s": 5,
        "queue_timeout_s": None,
        "limits": {},
        "arguments": {"format": "data", "head_bytes": 3, "buffers": [], "total_bytes": 3},
        **changes,
    }
    kept = {name: value for name, value in header.items() if value is not ...}
    return b"".join(encode_message(kept, ValueBytes(ValueLayout("data", 3, (), 3), b"abc")))


def arguments_in_worker(call: EncodedCall) -> tuple[list[Any], dict[str, Any]]:
    """Decode the arguments as a worker does."""
    header = CallHeader(CODE, "f", [], {}, "", arguments=call.arguments.layout)
    return load_arguments(ReceivedCall(header, bytearray(call.arguments.contents), []))


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
NAMES = TEXT.filter(lambda name: name and "=" not in name)
AMOUNTS = st.integers(0, 10**9) | st.floats(0, 1e9, exclude_min=True)
SECONDS = AMOUNTS | st.just(math.inf)
LIMITS = st.builds(
    Limits, memory_bytes=st.none() | st.integers(1, 2**60), cpu_time_s=st.none() | AMOUNTS.filter(bool)
)


@given(
    st.builds(
        WorkerCall,
        code=st.text(),
        function_name=st.text(min_size=1),
        python_path=st.lists(TEXT.map(lambda text: f"/{text}")),
        env=st.dictionaries(NAMES, st.none() | TEXT),
        seed=st.none() | st.integers(0, 2**64 - 1),
    ),
    SECONDS,
    st.none() | SECONDS,
    LIMITS,
    st.binary(max_size=100),
)
def test_a_call_comes_back_equal(
    call: WorkerCall, deadline_s: float, queue_timeout_s: float | None, limits: Limits, contents: bytes
) -> None:
    arguments = ValueBytes(ValueLayout("data", len(contents), (), len(contents)), contents, "the arguments")
    sent = EncodedCall(call, arguments, deadline_s, queue_timeout_s, limits)
    assert decode_call(message_of(sent)) == sent


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda values: st.lists(values) | st.tuples(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


@pytest.mark.parametrize("seconds", [math.inf, 1e30, 10**20, 5])
def test_any_deadline_that_a_call_may_have_can_be_sent(seconds: float) -> None:
    call = EncodedCall.from_call(WorkerCall(CODE, "f"), deadline_s=seconds, queue_timeout_s=seconds)
    received = decode_call(message_of(call))
    assert (received.deadline_s, received.queue_timeout_s) == (seconds, seconds)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, True, "5"])
def test_a_deadline_that_no_call_may_have_is_refused_by_the_sender(seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match="deadline_s must be a positive number of seconds"):
        EncodedCall.from_call(WorkerCall(CODE, "f"), deadline_s=seconds)


@given(st.lists(JSON_LIKE, max_size=3), st.dictionaries(st.text(), JSON_LIKE, max_size=3))
def test_arguments_reach_the_worker_with_their_exact_types(args: list[Any], kwargs: dict[str, Any]) -> None:
    call = EncodedCall.from_call(WorkerCall(CODE, "f", args, kwargs), deadline_s=1)
    received = arguments_in_worker(decode_call(message_of(call)))
    assert repr(received) == repr((args, kwargs))


@pytest.mark.parametrize("arguments_as", ResultFormat)
@pytest.mark.parametrize("size", [10, 100_000])
def test_an_array_arrives_writable_and_aligned(arguments_as: ResultFormat, size: int) -> None:
    sent = np.arange(size, dtype=np.float64)
    call = encoded(b"x", sent, arguments_as=arguments_as)
    (_, received), _ = arguments_in_worker(decode_call(message_of(call), allow_pickle=True))
    assert np.array_equal(received, sent)
    assert received.flags.aligned
    received[0] = 5


def test_the_content_of_a_message_starts_at_a_multiple_of_64() -> None:
    for length in range(70):
        call = dataclasses.replace(encoded(), call=WorkerCall("#" * length, "f"))
        start, _ = encode_call(call)
        assert len(start) % 64 == 0


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            [1, Point(2)],
            {},
            r"^args\[1\] is a .*\.Point, which the data format cannot encode\. Pass plain data instead",
        ),
        (
            [],
            {"sizes": [1, len]},
            r"^kwargs\['sizes'\]\[1\] is a builtins\.builtin_function_or_method, which",
        ),
        ([SharedArgument(1)], {}, r"^args\[0\] is a .*\.SharedArgument, which the data format cannot encode"),
        ([np.array([None])], {}, r"^args\[0\] is of dtype object"),
    ],
)
def test_an_argument_that_would_arrive_as_something_else_is_refused(
    args: list[Any], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidCallError, match=message):
        EncodedCall.from_call(WorkerCall(CODE, "f", args, kwargs), deadline_s=1)


def test_an_argument_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(InvalidCallError, match=r"^the arguments cannot be pickled: TypeError"):
        encoded(SharedArgument(1), arguments_as=ResultFormat.PICKLE)


def test_pickled_arguments_are_refused_unless_they_are_allowed() -> None:
    message = message_of(encoded(Point(1), arguments_as=ResultFormat.PICKLE))
    with pytest.raises(RemoteFormatError, match=r"the arguments have the format 'pickle'; accepted: data$"):
        decode_call(message)
    assert arguments_in_worker(decode_call(message, allow_pickle=True)) == ([Point(1)], {})


def test_decoding_a_call_unpickles_nothing() -> None:
    hostile = ValueBytes(ValueLayout("pickle", 5, (), 5), b"\x80\x05X.\n")
    call = decode_call(message_of(dataclasses.replace(encoded(), arguments=hostile)), allow_pickle=True)
    with pytest.raises(pickle.UnpicklingError):
        arguments_in_worker(call)


def test_a_relative_folder_is_that_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = WorkerCall(CODE, "f", python_path=["helpers", "/usr/lib"])
    sent = EncodedCall.from_call(call, deadline_s=1)
    assert decode_call(message_of(sent)).call.python_path == [os.fspath(tmp_path / "helpers"), "/usr/lib"]


def test_unknown_fields_are_skipped() -> None:
    arguments = {"format": "data", "head_bytes": 3, "buffers": [], "total_bytes": 3, "codec": [1]}
    call = decode_call(header_with(priority=5, tags=["gpu", {"a": None}], arguments=arguments))
    assert call.call.code == CODE


def test_a_limit_that_is_not_known_is_not_skipped() -> None:
    with pytest.raises(RemoteFormatError, match=r"limits\.gpu_bytes is not a limit that this gigaexec knows"):
        decode_call(header_with(limits={"gpu_bytes": 5}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "cases"}, "expected a message of kind 'call', got 'cases'"),
        ({"code": ...}, "code is missing"),
        ({"code": 5}, "code: expected a str, got int"),
        ({"python_path": ["/x", None]}, "python_path: expected a str, got NoneType"),
        ({"env": {"A": 1}}, r"env\.A: expected a str, got int"),
        ({"env": {1: "A"}}, "env: expected a dict with str keys, got a key of type int"),
        ({"env": {"A=B": "C"}}, "InvalidCallError: env contains the name 'A=B'"),
        ({"deadline_s": float("nan")}, "deadline_s: expected a number of seconds, at least 0, got nan"),
        ({"deadline_s": -1.0}, "deadline_s: expected a number of seconds, at least 0, got -1.0"),
        ({"queue_timeout_s": True}, "queue_timeout_s: expected a number of seconds, at least 0, got bool"),
        ({"seed": -1}, "seed: expected an int from 0"),
        ({"limits": {"memory_bytes": -5}}, r"limits\.memory_bytes: expected a number"),
        ({"limits": {"memory_bytes": 0}}, "ConfigurationError: memory_bytes must be"),
        ({"arguments": {"format": "data", "head_bytes": 3, "buffers": [1], "total_bytes": 3}}, "no size"),
        (
            {"arguments": {"format": "data", "head_bytes": 3, "buffers": [1, 1], "total_bytes": 3}},
            "starts at byte 1",
        ),
        (
            {"arguments": {"format": "data", "head_bytes": 9, "buffers": [], "total_bytes": 3}},
            "ends at byte 9",
        ),
        (
            {"arguments": {"format": "data", "head_bytes": 3, "buffers": [], "total_bytes": 4}},
            "expected 4 bytes of the arguments, got 3",
        ),
        (
            {"arguments": {"format": "json", "head_bytes": 3, "buffers": [], "total_bytes": 3}},
            "format 'json'",
        ),
        ({"arguments": None}, "arguments: expected a dict"),
        ({"code": (1, 2)}, "op code 6 is not allowed in plain values"),
        ({"code": np.float64(1)}, "op code 24 is not allowed in plain values"),
        ({"extra": [[[[[[[[1]]]]]]]]}, "nested deeper than 8 levels"),
    ],
)
def test_a_header_that_is_not_valid_is_refused_with_its_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RemoteFormatError, match=f"the message is not valid: .*{message}"):
        decode_call(header_with(**changes))


def test_a_message_without_a_header_of_this_format_is_refused() -> None:
    message = header_with()
    refusal = "^not a gigaexec message: the first bytes must be GXEC, got "
    with pytest.raises(RemoteFormatError, match=refusal + r"b'{}'$"):
        decode_call(b"{}")
    with pytest.raises(RemoteFormatError, match=refusal + r"b'HTTP'$"):
        decode_call(b"HTTP" + message[4:])
    with pytest.raises(
        RemoteFormatError, match="the message is truncated: expected at least 16 bytes, got 9"
    ):
        decode_call(message[:9])
    with pytest.raises(
        RemoteFormatError, match=r"^the message has version 2; this gigaexec reads version 1$"
    ):
        decode_call(message[:4] + b"\2\0\0\0" + message[8:])
    with pytest.raises(RemoteFormatError, match=r"^the message is truncated: its header ends at"):
        decode_call(message[:50])
    with pytest.raises(RemoteFormatError, match=f"the message has {len(message)} bytes; the limit is 100"):
        decode_call(message, max_bytes=100)


def test_decoding_imports_no_numpy() -> None:
    code = (
        "import sys; from gigaexec.wire.remote.calls import decode_call\n"
        f"decode_call({message_of(encoded(np.arange(3)))!r}); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
