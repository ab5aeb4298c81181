"""R140: outcomes as bytes. Errors keep their class; values stay encoded until the driver reads them."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from gigaexec import errors
from gigaexec.calls import CapturedOutput, ConfinementStep, ExecutionMetrics, LimitHit, Outcome, ValueLayout
from gigaexec.errors import (
    CallTimeoutError,
    ExecRunnerError,
    GigaexecError,
    InfrastructureError,
    LimitExceededError,
    MemoryExceededError,
    OutcomeStatus,
    ValueNotReadableError,
    WorkerCrashedError,
)
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.buffers import write_aligned
from gigaexec.wire.data.encoder import encode_data
from gigaexec.wire.encoded import EncodedOutcome
from gigaexec.wire.remote.failures import _CHECKS, _CLASSES, _fields_of, failure_as_record
from gigaexec.wire.remote.message import RemoteFormatError, encode_message
from gigaexec.wire.remote.outcomes import decode_outcome, encode_outcome
from gigaexec.wire.values_in import ValueBytes

METRICS = ExecutionMetrics(1000, 0.5, 0.25, 0.125, 77, "0123456789ab", "node", 5, 6, seed=None)
OUTPUT = CapturedOutput("out", "err\ud800", 3, 10**12)
HIT = LimitHit("memory_bytes", 100, 150.5)


def value_bytes(value: Any) -> ValueBytes:
    encoded = encode_data(value)
    parts: list[Any] = [encoded.head]
    spans, end = write_aligned(parts.append, len(encoded.head), encoded.buffers)
    return ValueBytes(ValueLayout("data", len(encoded.head), spans, end), b"".join(parts))


def over_the_wire(encoded: EncodedOutcome) -> EncodedOutcome:
    return decode_outcome(b"".join(encode_outcome(encoded)))


def failed(error: GigaexecError, **fields: Any) -> EncodedOutcome:
    return EncodedOutcome(Outcome(error.status, error=error, **fields))


def facts_of(error: GigaexecError | None) -> Any:
    return (type(error), error.args, vars(error)) if error is not None else None


TEXT = st.text(st.characters())
AMOUNTS = st.integers(0, 2**64 - 1) | st.floats(0, 2**63)
COUNTS = st.integers(0, 2**64 - 1)
ALL_METRICS = st.builds(
    ExecutionMetrics,
    *(COUNTS, AMOUNTS, AMOUNTS, AMOUNTS, COUNTS, TEXT, TEXT),
    *[COUNTS] * 9,
    seed=st.none() | COUNTS,
)
OUTCOMES = st.builds(
    Outcome,
    status=st.just(OutcomeStatus.OK),
    output=st.builds(CapturedOutput, TEXT, TEXT, COUNTS, COUNTS),
    metrics=st.none() | ALL_METRICS,
    queue_time_s=AMOUNTS,
    start_time_s=AMOUNTS,
    run_time_s=AMOUNTS,
    index=COUNTS,
    confinement=st.lists(st.builds(ConfinementStep, TEXT, st.booleans(), TEXT)).map(tuple),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)


@given(OUTCOMES, VALUES)
def test_an_outcome_comes_back_equal_and_its_value_with_it(outcome: Outcome, value: Any) -> None:
    received = over_the_wire(EncodedOutcome(outcome, value_bytes(value)))
    assert received.outcome == outcome
    assert received.decode(ResultFormat.DATA) == dataclasses.replace(outcome, value=value)


@given(
    OUTCOMES,
    st.builds(
        MemoryExceededError,
        TEXT,
        stderr=TEXT,
        returncode=st.integers(-(2**63), 2**63),
        hit=st.none() | st.builds(LimitHit, TEXT, AMOUNTS, st.none() | AMOUNTS),
    )
    | st.builds(CallTimeoutError, TEXT, deadline_s=AMOUNTS | st.just(math.inf), run_time_s=AMOUNTS)
    | st.builds(
        WorkerCrashedError,
        TEXT,
        signal_name=st.none() | TEXT,
        returncode=st.none() | st.integers(-(2**63), 2**63),
    )
    | st.builds(InfrastructureError, TEXT),
    st.booleans(),
)
def test_an_error_comes_back_as_it_was(outcome: Outcome, error: GigaexecError, knows_more: bool) -> None:
    if knows_more and isinstance(error, errors.CallError):
        error.output, error.metrics = outcome.output, outcome.metrics
    sent = dataclasses.replace(outcome, status=error.status, error=error)
    received = over_the_wire(EncodedOutcome(sent))
    assert facts_of(received.outcome.error) == facts_of(error)
    assert str(received.outcome.error) == str(error)
    assert dataclasses.replace(received.outcome, error=error) == sent
    assert received.decode(ResultFormat.DATA) is received.outcome


@pytest.mark.parametrize("kind", _CLASSES.values(), ids=_CLASSES.keys())
def test_every_error_of_gigaexec_comes_back_with_its_class(kind: type[GigaexecError]) -> None:
    values = {
        "stderr": "trace",
        "returncode": -9,
        "signal_name": "SIGKILL",
        "hit": HIT,
        "deadline_s": 5.0,
        "run_time_s": 5.5,
    }
    error = kind("one\ntwo", **{name: values[name] for name in _fields_of(kind)})
    received = over_the_wire(failed(error)).outcome
    assert facts_of(received.error) == facts_of(error)
    assert received.status is error.status


def test_every_keyword_of_an_error_has_a_check() -> None:
    assert {name for kind in _CLASSES.values() for name in _fields_of(kind)} == _CHECKS.keys()
    assert _CLASSES.keys() == {name for name in vars(errors) if name.endswith("Error")}


def test_output_and_metrics_are_sent_once() -> None:
    output = CapturedOutput("x" * 100_000, "", 100_000, 0)
    error = ExecRunnerError("failed", output=output, metrics=METRICS)
    (message,) = encode_outcome(failed(error, output=output, metrics=METRICS))
    assert len(message) < 110_000
    received = decode_outcome(message).outcome
    assert isinstance(received.error, ExecRunnerError)
    assert received.error.output is received.output
    assert received.error.metrics is received.metrics


def test_an_array_in_a_value_is_built_on_a_writable_message_without_a_copy() -> None:
    array = np.arange(100_000.0)
    message = bytearray(
        b"".join(encode_outcome(EncodedOutcome(Outcome(OutcomeStatus.OK), value_bytes(array))))
    )
    received = decode_outcome(message).decode(ResultFormat.DATA).value
    assert np.array_equal(received, array)
    assert np.shares_memory(received, np.frombuffer(message, np.uint8))
    assert received.flags.aligned


def test_a_pickled_value_is_not_decoded_unless_it_was_asked_for() -> None:
    pickled = pickle.dumps([1])
    value = ValueBytes(ValueLayout("pickle", len(pickled), (), len(pickled)), pickled)
    received = over_the_wire(EncodedOutcome(Outcome(OutcomeStatus.OK, index=3), value))
    refused = received.decode(ResultFormat.DATA)
    assert isinstance(refused.error, ValueNotReadableError)
    assert str(refused.error) == "expected the result in the format 'data', got 'pickle'"
    assert (refused.status, refused.index, refused.value) == (OutcomeStatus.ERROR, 3, None)
    assert received.decode(ResultFormat.PICKLE).value == [1]


def test_an_array_in_a_value_is_writable_if_the_message_is_not() -> None:
    array = np.arange(100_000.0)
    received = over_the_wire(EncodedOutcome(Outcome(OutcomeStatus.OK), value_bytes(array)))
    value = received.decode(ResultFormat.DATA).value
    value[0] = 5
    assert np.array_equal(value[1:], array[1:])


class BackendError(WorkerCrashedError):
    """An error of a backend that is not part of gigaexec."""


def test_an_error_of_another_package_is_sent_as_its_nearest_base_in_gigaexec() -> None:
    record = failure_as_record(BackendError("m", signal_name="SIGKILL"))
    assert record["classes"] == ["WorkerCrashedError", "ExecRunnerError", "CallError", "GigaexecError"]
    received = over_the_wire(failed(BackendError("m", signal_name="SIGKILL"))).outcome.error
    assert facts_of(received) == facts_of(WorkerCrashedError("m", signal_name="SIGKILL"))


def header_with(value: ValueBytes | None = None, **changes: Any) -> bytes:
    """Return a message with changed header fields; the value `...` removes a field."""
    error = {
        "classes": ["WorkerStartError", "InfrastructureError", "GigaexecError"],
        "message": "m",
        "has_output": False,
        "has_metrics": False,
    }
    header = {
        "kind": "outcome",
        "status": "infrastructure",
        "value": None,
        "error": error,
        "output": {"stdout": "", "stderr": "", "stdout_bytes": 0, "stderr_bytes": 0},
        "metrics": None,
        "queue_time_s": 0,
        "start_time_s": 0,
        "run_time_s": 0,
        "index": 0,
        "confinement": [],
        **changes,
    }
    kept = {name: field for name, field in header.items() if field is not ...}
    return b"".join(encode_message(kept, value))


def error_record(*classes: str, **fields: Any) -> dict[str, Any]:
    return {"classes": list(classes), "message": "m", "has_output": True, "has_metrics": True, **fields}


def test_the_error_of_a_newer_version_becomes_the_nearest_base_that_is_known() -> None:
    record = error_record(
        *("GpuMemoryExceededError", "MemoryExceededError", "LimitExceededError"),
        stderr="s",
        returncode=1,
        hit=None,
        device=3,
    )
    outcome = decode_outcome(header_with(status="gpu_memory_exceeded", error=record, node="x")).outcome
    assert type(outcome.error) is MemoryExceededError
    assert outcome.status is OutcomeStatus.MEMORY_EXCEEDED


def test_the_error_of_an_older_version_lacks_fields_that_are_new() -> None:
    outcome = decode_outcome(header_with(status="error", error=error_record("LimitExceededError"))).outcome
    assert facts_of(outcome.error) == facts_of(LimitExceededError("m", output=CapturedOutput()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "call"}, "expected a message of kind 'outcome', got 'call'"),
        ({"status": "ok"}, "got the status 'ok' with an error and no value"),
        ({"error": None}, "got the status '.+' with no error and no value"),
        ({"status": ...}, "status is missing"),
        (
            {"error": error_record("SystemExit", "Exception")},
            r"expected a class of gigaexec\.errors, got \['SystemExit', 'Exception'\]",
        ),
        ({"error": error_record("CallError", message=b"m")}, r"error\.message: expected a str, got bytes"),
        ({"error": error_record("ExecRunnerError", returncode=1.5)}, r"error\.returncode: expected an int"),
        ({"error": error_record("ExecRunnerError", returncode=True)}, "expected an int of at most 64 bits"),
        (
            {"error": error_record("LimitExceededError", hit={"name": "x", "limit": float("inf")})},
            r"error\.hit: hit\.limit: expected a number",
        ),
        ({"metrics": {"peak_rss_kb": 1}}, "TypeError: .*missing"),
        ({"metrics": {**dataclasses.asdict(METRICS), "wall_time_s": "1"}}, "expected a number"),
        ({"output": {"stdout": "", "stderr": "", "stdout_bytes": 0}}, r"output\.stderr_bytes is missing"),
        ({"run_time_s": -1}, r"run_time_s: expected a number from 0 to 2\*\*64, got -1"),
        ({"index": -1}, r"index: expected an int from 0 to 2\*\*64 - 1, got -1"),
        ({"index": None}, "index: expected an int"),
        ({"confinement": [["landlock_files", True, ""]]}, "confinement: expected a dict"),
        ({"confinement": [{"name": "n", "held": 1, "detail": ""}]}, "held: expected a bool, got int"),
    ],
)
def test_a_header_that_is_not_valid_is_refused_with_its_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RemoteFormatError, match=f"the message is not valid: .*{message}"):
        decode_outcome(header_with(**changes))


def test_bytes_after_an_outcome_without_a_value_are_refused() -> None:
    with pytest.raises(RemoteFormatError, match="expected no bytes after an outcome without a value, got 3"):
        decode_outcome(header_with(ValueBytes(ValueLayout("data", 3), b"abc")))


def test_an_outcome_that_is_ok_without_a_value_is_not_sent() -> None:
    with pytest.raises(ValueError, match="an outcome with status ok must have a value"):
        encode_outcome(EncodedOutcome(Outcome(OutcomeStatus.OK, 5)))
