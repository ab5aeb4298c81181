"""Records on a worker's channel."""

from __future__ import annotations

import json

import pytest

from gigaexec.calls import ExecutionMetrics, WorkerError, WorkerResult
from gigaexec.worker.messages import decode_message, encode_message


def test_an_answer_gets_out_of_a_program_that_replaced_json(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = WorkerResult(None, WorkerError("", summary="failed"), ExecutionMetrics(1, 0.5, 0.25, 0.25, 7))
    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", lambda *_, **__: "patched")
        frame = encode_message(sent)
    assert decode_message(frame) == sent
