"""The records that cross process boundaries: SPEC section 1, R2, R6, R61."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from gigaexec.calls import (
    CapturedOutput,
    ErrorKind,
    ExecutionMetrics,
    Outcome,
    OutcomeStatus,
    ValueLayout,
    WorkerCall,
    WorkerError,
    WorkerResult,
)
from gigaexec.errors import ExecRunnerError, InvalidCallError
from gigaexec.pool.jobs import Ending, EndingKind
from gigaexec.wire.encoded import EncodedOutcome

METRICS = ExecutionMetrics(1024, 0.5, 0.25, 0.125, 77, "0123456789ab", "node-1", 1_000, 500_001_000)

RECORDS: list[Any] = [
    WorkerCall("def f(): ...", "f", [1], {"a": 2}, ["/x"], {"A": "1", "B": None}),
    WorkerError("Traceback", 3, ErrorKind.VALUE, "ValueError: x"),
    METRICS,
    WorkerResult("/spill/file", None, METRICS, None, ValueLayout("pickle", 10, (), 10), "too large"),
    CapturedOutput("out", "err", 3, 3),
    Outcome(OutcomeStatus.OK, value=[1, 2], metrics=METRICS, queue_time_s=1.0, index=4),
]

# Other software depends on these names, their order and their defaults.
PUBLISHED_FIELDS: dict[type, dict[str, object]] = {
    WorkerCall: {"code": ..., "function_name": ..., "args": [], "kwargs": {}, "python_path": [], "env": {}},
    WorkerError: {"stderr": ..., "returncode": 1},
    WorkerResult: {"spill_path": ..., "error": ..., "metrics": ...},
    ExecutionMetrics: {
        "peak_rss_kb": ...,
        "wall_time_s": ...,
        "user_time_s": ...,
        "sys_time_s": ...,
        "worker_pid": ...,
        "worker_id": "",
        "node_id": "",
        "started_at_ns": 0,
        "finished_at_ns": 0,
    },
}


def default_of(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ... if field.default is dataclasses.MISSING else field.default


@pytest.mark.parametrize("record", PUBLISHED_FIELDS, ids=lambda record: record.__name__)
def test_section_1_published_fields_come_first_with_their_defaults(record: type) -> None:
    published = PUBLISHED_FIELDS[record]
    found = {field.name: default_of(field) for field in dataclasses.fields(record)}
    assert list(found.items())[: len(published)] == list(published.items())
    assert ... not in list(found.values())[len(published) :], "an added field needs a default"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_section_1_records_are_frozen_and_slotted_and_survive_pickling(record: Any) -> None:
    first_field = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, first_field, None)
    assert not hasattr(record, "__dict__")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(record, protocol)) == record


def test_section_1_result_reads_through_to_its_metrics() -> None:
    result = WorkerResult(None, None, METRICS)
    for name in (
        "peak_rss_kb",
        "wall_time_s",
        "user_time_s",
        "sys_time_s",
        "worker_pid",
        "worker_id",
        "node_id",
    ):
        assert getattr(result, name) == getattr(METRICS, name)


def test_calls_do_not_share_their_default_containers() -> None:
    first, second = WorkerCall("", "f"), WorkerCall("", "f")
    first.args.append(1)
    first.kwargs["a"] = 1
    first.python_path.append("/x")
    first.env["A"] = "1"
    assert second == WorkerCall("", "f", [], {}, [], {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"code": b"def f(): ..."}, "code must be a string of Python source, not bytes"),
        ({"code": None}, "code must be a string of Python source, not NoneType"),
        ({"function_name": 3}, "function_name must be the name of a function, not int: 3"),
        ({"function_name": ""}, "function_name is empty"),
        ({"args": (1, 2)}, r"args must be a list of positional arguments, not tuple: \(1, 2\)"),
        ({"args": "ab"}, "args must be a list of positional arguments, not str"),
        ({"kwargs": [("a", 1)]}, "kwargs must be a dict of keyword arguments, not list"),
        ({"kwargs": {1: 2}}, "a key of kwargs must be a parameter name, not int: 1"),
        ({"python_path": "/x"}, "python_path must be a list of folder names, not str"),
        ({"python_path": ["/x", 7]}, r"python_path\[1\] must be a folder name as a string, not int: 7"),
        ({"env": ["A=1"]}, "env must be a dict of environment variables, not list"),
        ({"env": {1: "x"}}, "a name in env must be a string, not int"),
        ({"env": {"": "x"}}, "env contains the name ''"),
        ({"env": {"A=B": "x"}}, "env contains the name 'A=B'"),
        ({"env": {"A\0": "x"}}, "env contains the name"),
        ({"env": {"A": 1}}, r"env\['A'\] must be a string, or None to unset it, not int: 1"),
        ({"env": {"A": "x\0y"}}, r"env\['A'\] contains a NUL"),
    ],
)
def test_r2_a_malformed_call_is_refused_by_name_before_anything_starts(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidCallError, match=message):
        WorkerCall(**{"code": "", "function_name": "f", **fields})


def test_r2_a_function_or_a_path_instead_of_source_gets_a_hint() -> None:
    with pytest.raises(InvalidCallError, match=r"not function: .*; pass inspect\.getsource\(default_of\)$"):
        WorkerCall(default_of, "f")  # type: ignore[arg-type]
    with pytest.raises(InvalidCallError, match=r"Path\('x\.py'\); pass its read_text\(\)$"):
        WorkerCall(Path("x.py"), "f")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1"])
def test_r2_a_seed_that_makes_no_sense_is_refused(seed: Any) -> None:
    with pytest.raises(
        InvalidCallError, match=r"seed must be a whole number from 0 to 2\*\*64 - 1, or None, not"
    ):
        WorkerCall("", "f", seed=seed)


def test_r2_a_refusal_quotes_a_large_value_in_part() -> None:
    with pytest.raises(InvalidCallError) as refusal:
        WorkerCall("", "f", args="x" * 100_000)  # type: ignore[arg-type]
    assert len(str(refusal.value)) < 300


def test_r6_captured_output_is_marked_as_such() -> None:
    assert CapturedOutput().as_report() == ""
    assert not CapturedOutput()
    report = CapturedOutput(stdout="one", stderr="two\n").as_report()
    assert report == "--- captured output: stdout ---\none\n--- captured output: stderr ---\ntwo\n"


def test_outcome_unwraps_to_its_value_or_raises_its_error() -> None:
    good = Outcome(OutcomeStatus.OK, value=None)
    assert good.ok
    assert good.unwrap() is None
    error = ExecRunnerError("it failed")
    bad = Outcome(OutcomeStatus.ERROR, error=error)
    assert not bad.ok
    with pytest.raises(ExecRunnerError) as raised:
        bad.unwrap()
    assert raised.value is error


def test_one_vocabulary_of_statuses() -> None:
    assert [str(status) for status in OutcomeStatus] == [
        "ok",
        "error",
        "timed_out",
        "crashed",
        "memory_exceeded",
        "output_exceeded",
        "cpu_time_exceeded",
        "processes_exceeded",
        "open_files_exceeded",
        "file_size_exceeded",
        "result_exceeded",
        "scratch_exceeded",
        "cancelled",
        "infrastructure",
    ]


class NoRepr:
    """An instance of a class of a program: its repr must never be made."""

    def __repr__(self) -> str:
        raise AssertionError("the repr was made")


@pytest.mark.parametrize(
    "value", [NoRepr(), [NoRepr()], {"a": (1, NoRepr())}, b"\x80" * 1_000_000, "x" * 10**6]
)
def test_r104_reprs_of_records_are_short_and_run_no_code_of_a_value(value: Any) -> None:
    call = WorkerCall("x" * 1_000_000, "f", args=[value], kwargs={"a": value}, env={"A": "x" * 1_000_000})
    outcome = Outcome(OutcomeStatus.OK, value=value, output=CapturedOutput("x" * 1_000_000))
    failed = Outcome(OutcomeStatus.ERROR, error=ExecRunnerError("x" * 1_000_000, stderr="x" * 1_000_000))
    error = WorkerError("x" * 1_000_000, summary="x" * 1_000_000)
    result = WorkerResult(None, error, METRICS, b"\x80" * 60_000)
    ending = Ending(EndingKind.ANSWERED, result=result, output=outcome.output)
    records = [call, outcome, outcome.output, failed, EncodedOutcome(outcome), error, result, ending]
    for record in records:
        assert len(repr(record)) < 2_000


def test_r104_the_repr_of_an_outcome_shows_its_value_or_error() -> None:
    assert repr(Outcome(OutcomeStatus.OK, value=[1, "a"], run_time_s=0.25)) == (
        "Outcome(ok, value=[1, 'a'], run_time_s=0.25, index=0)"
    )
    assert repr(Outcome(OutcomeStatus.ERROR, error=ExecRunnerError("bad", stderr="long"), index=3)) == (
        "Outcome(error, error=ExecRunnerError('bad'), run_time_s=0, index=3)"
    )
    assert repr(WorkerCall("def f(x): return x", "f", args=[1])) == (
        "WorkerCall(<18 characters of code>, 'f', args=[1])"
    )
