"""Records on a worker's channel."""

from __future__ import annotations

import json

import pytest

from gigaexec.calls import ExecutionMetrics, WorkerError, WorkerResult
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.messages import decode_message, encode_message


def test_an_answer_gets_out_of_a_program_that_replaced_json(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = WorkerResult(None, WorkerError("", summary="failed"), ExecutionMetrics(1, 0.5, 0.25, 0.25, 7))
    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", lambda *_, **__: "patched")
        frame = encode_message(sent)
    assert decode_message(frame) == sent


def result_frame(**changes: object) -> bytes:
    """Return a worker's frame for a failed call, with changed JSON fields."""
    facts = {
        "error": ["Traceback", 1, "user", "ValueError: x", None],
        "metrics": [0] * 4 + [1, "", "", *[0] * 10],
        "layout": None,
        "is_inline": False,
        "spill_path": None,
        "retire_reason": "",
        "file_number": None,
        "warning": "",
    }
    header = json.dumps({"result": {**facts, **changes}}).encode()
    return len(header).to_bytes(4, "big") + header


def test_what_is_well_formed_is_read() -> None:
    assert decode_message(result_frame()).error.summary == "ValueError: x"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\2{}",
        b"\0\0\0\4null",
        result_frame(error=["x", 1, "limit", "x", ["memory_bytes", 10**400, 1]]),
        result_frame(error=["x", 10**400, "user", "x", None]),
        result_frame(error=["x", 1, "no kind", "x", None]),
        result_frame(error=None),
        result_frame(metrics=[float("nan")] * 17),
        result_frame(metrics=[-1] * 17),
        result_frame(metrics=[]),
        result_frame(file_number=-1),
        result_frame(file_number="3"),
        result_frame(warning=None),
        result_frame(layout=["data", 10, [[5, 5]], 20], error=None),
        result_frame(layout=["data", 10, [[10, 50]], 20], error=None),
        result_frame(layout=["data", 0, [], 10**6], error=None, is_inline=True) + b"x" * 10**6,
        b"\0\1\x86\xa0" + b"[" * 100_000,
    ],
)
def test_what_no_worker_sends_is_a_protocol_error(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_message(frame)
