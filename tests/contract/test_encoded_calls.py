"""R140: a call that reaches a local backend as bytes, as on an agent, ends like a direct call."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaexec import ExecRunnerError, Outcome, OutcomeStatus, WorkerCall
from gigaexec.errors import (
    CallCancelledError,
    ConfigurationError,
    LimitExceededError,
    ValueNotReadableError,
)
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import ResultFormat, SandboxPolicy
from gigaexec.wire.encoded import EncodedCall, EncodedOutcome
from gigaexec.wire.remote.calls import decode_call, encode_call
from gigaexec.wire.remote.outcomes import decode_outcome, encode_outcome
from tests.contract.conftest import Kind, MakeBackend

DEADLINE_S = 30.0


async def through_bytes(backend: Any, call: EncodedCall) -> EncodedOutcome:
    """Run a call as an agent does: decode the call, run it, and encode its outcome."""
    received = decode_call(b"".join(encode_call(call)), allow_pickle=True)
    ended = await backend.run_encoded(received)
    assert ended.outcome.value is None
    sent = decode_outcome(b"".join(encode_outcome(ended)))
    assert dataclasses.replace(sent.outcome, error=None) == dataclasses.replace(ended.outcome, error=None)
    return sent


def run_encoded(
    backend: Any,
    code: str,
    *args: Any,
    deadline_s: float = DEADLINE_S,
    queue_timeout_s: float | None = None,
    limits: Limits | None = None,
    **fields: Any,
) -> Outcome:
    call = WorkerCall(code, "f", list(args), **fields)
    encoded = EncodedCall.from_call(
        call, deadline_s=deadline_s, queue_timeout_s=queue_timeout_s, limits=limits
    )
    ended = asyncio.run(through_bytes(backend, encoded))
    return ended.decode(backend.config.sandbox.format_of_results)


VALUES = {
    "None": "None",
    "containers": "[1, {'a': (2.5, b'x')}, {3}, 10**30, '\\ud800']",
    "a large text": "'x' * 300_000",
    "a small array": "__import__('numpy').arange(10.0)",
    "a large array": "[__import__('numpy').arange(100_000.0), b'y' * 300_000]",
}


@pytest.mark.parametrize("expression", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_returned_equal(backend: Any, spill_dir: Path, expression: str) -> None:
    outcome = run_encoded(backend, f"def f(): return {expression}")
    assert outcome.error is None
    assert outcome.status is OutcomeStatus.OK
    assert repr(outcome.value) == repr(eval(expression))
    assert not list(spill_dir.glob("*.spill"))


def test_arguments_and_settings_arrive_unchanged(backend: Any) -> None:
    code = (
        "import numpy as np, os, random\n"
        "def f(array, numbers, *, scale):\n"
        "    array *= scale\n"
        "    return array, numbers, os.environ['MARK'], random.random(), type(scale).__name__"
    )
    array = np.arange(200_000.0)
    arguments: dict[str, Any] = {
        "args": [array, (1, {2})],
        "kwargs": {"scale": 2.0},
        "env": {"MARK": "m"},
        "seed": 5,
    }
    direct, encoded = (
        asyncio.run(backend.run(WorkerCall(code, "f", **arguments), deadline_s=DEADLINE_S)),
        asyncio.run(
            through_bytes(
                backend, EncodedCall.from_call(WorkerCall(code, "f", **arguments), deadline_s=DEADLINE_S)
            )
        ).decode(backend.config.sandbox.format_of_results),
    )
    assert np.array_equal(encoded.value[0], array * 2)
    assert repr(encoded.value[1:]) == repr(direct.value[1:])


def test_pickled_arguments_are_accepted_if_allowed(backend: Any) -> None:
    code = "def f(array, triple): array[0] = triple(1); return float(array.sum())"
    array = np.zeros(50_000)
    call = EncodedCall.from_call(
        WorkerCall(code, "f", [array, lambda number: number * 3]),
        deadline_s=DEADLINE_S,
        arguments_as=ResultFormat.PICKLE,
    )
    ended = asyncio.run(through_bytes(backend, call))
    assert ended.decode(backend.config.sandbox.format_of_results).value == 3.0


FAILURES = {
    "an exception": "def f(): raise ValueError('broken \\ud800')",
    "bad syntax": "def f(:",
    "an exit": "def f(): raise SystemExit(7)",
    "no function": "def g(): pass",
    "an unpicklable value": "def f(): return (n for n in 'ab')",
    "an exit of the process": "import os\ndef f(): print('bye', flush=True); os._exit(3)",
    "a signal": "import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGKILL)",
    "an overrun": "def f():\n    print('begun', flush=True)\n    while True: pass",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_keeps_its_class_and_text(backend: Any, name: str) -> None:
    deadline_s = 0.5 if name == "an overrun" else DEADLINE_S
    code = FAILURES[name]
    direct = asyncio.run(backend.run(WorkerCall(code, "f"), deadline_s=deadline_s))
    encoded = run_encoded(backend, code, deadline_s=deadline_s)
    assert encoded.error is not None
    assert type(encoded.error) is type(direct.error)
    assert encoded.error.args == direct.error.args
    assert encoded.status is direct.status
    assert encoded.output == direct.output
    assert without_times(vars(encoded.error)) == without_times(vars(direct.error))
    assert (encoded.metrics is None) == (direct.metrics is None)


def without_times(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in ("metrics", "run_time_s")}


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("def f(): print('x' * 100_000, flush=True)", Limits(output_bytes=50_000)),
        ("def f(): return b'x' * 100_000", Limits(result_bytes=50_000)),
        ("def f(): return [open('/dev/null') for _ in range(99)]", Limits(open_files=50)),
    ],
    ids=["output_bytes", "result_bytes", "open_files"],
)
def test_an_exceeded_limit_is_reported(backend: Any, code: str, limits: Limits) -> None:
    call = WorkerCall(code, "f")
    direct: Outcome = asyncio.run(backend.run(call, deadline_s=DEADLINE_S, limits=limits))
    encoded = run_encoded(backend, code, limits=limits)
    assert type(encoded.error) is type(direct.error)
    assert encoded.status is direct.status is not OutcomeStatus.ERROR
    assert isinstance(encoded.error, LimitExceededError)
    assert isinstance(direct.error, LimitExceededError)
    assert encoded.error.hit is not None
    assert direct.error.hit is not None
    assert dataclasses.replace(encoded.error.hit, measured=None) == dataclasses.replace(
        direct.error.hit, measured=None
    )


def test_clocks_metrics_and_output_are_returned(backend: Any) -> None:
    code = "import time\ndef f(): print('hello'); time.sleep(0.1)"
    outcome = run_encoded(backend, code, seed=9)
    assert outcome.run_time_s > 0.1
    assert outcome.start_time_s > 0
    assert outcome.queue_time_s >= 0
    assert outcome.output.stdout == "hello\n"
    assert outcome.metrics is not None
    assert outcome.metrics.wall_time_s > 0.1
    assert outcome.metrics.seed == 9
    assert outcome.metrics.bytes_in > len(code)
    assert outcome.metrics.node_id == backend.config.node_id


def test_a_cancellation_and_a_queue_timeout_are_reported(make_backend: MakeBackend, tmp_path: Path) -> None:
    backend = make_backend(max_workers=1)
    begun = tmp_path / "begun"
    hang = "import pathlib, time\ndef f(path): pathlib.Path(path).touch(); time.sleep(60)"

    async def main() -> tuple[EncodedOutcome, EncodedOutcome]:
        call = EncodedCall.from_call(WorkerCall(hang, "f", [str(begun)]), deadline_s=DEADLINE_S)
        running = asyncio.create_task(through_bytes(backend, call))
        while not begun.exists():
            await asyncio.sleep(0.01)
        waiting = dataclasses.replace(call, queue_timeout_s=0.1)
        queued = await through_bytes(backend, waiting)
        await backend.shutdown()
        return await running, queued

    running, queued = asyncio.run(main())
    assert running.outcome.status is OutcomeStatus.CANCELLED
    assert type(running.outcome.error) is CallCancelledError
    assert queued.outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert "queue_timeout_s" in str(queued.outcome.error)
    assert queued.outcome.run_time_s == 0


def test_invalid_arguments_fail_their_call_only(backend: Any) -> None:
    call = EncodedCall.from_call(WorkerCall("def f(x): return x", "f", ["abc"]), deadline_s=DEADLINE_S)
    contents = bytes(call.arguments.contents)
    forged = dataclasses.replace(call.arguments, contents=b"\x92" + contents[1:])
    ended = asyncio.run(through_bytes(backend, dataclasses.replace(call, arguments=forged)))
    error = ended.outcome.error
    assert type(error) is ExecRunnerError
    assert "arguments could not be unpickled in the worker: ValueNotReadableError" in str(error)
    assert run_encoded(backend, "def f(x): return x", 5).value == 5


def test_a_module_of_the_program_does_not_shadow_a_module_of_the_decoder(
    backend: Any, tmp_path: Path
) -> None:
    for name in ("uuid", "msgspec", "zoneinfo"):
        (tmp_path / f"{name}.py").write_text("raise LookupError('not this one')")
    outcome = run_encoded(backend, "def f(x): return x", 5, python_path=[str(tmp_path)])
    assert outcome.unwrap() == 5


def test_a_confined_program_gets_its_arguments_and_returns_data(
    make_backend: MakeBackend, kind: Kind
) -> None:
    if kind.reuses_workers:
        pytest.skip("reused workers do not confine programs")
    backend = make_backend(sandbox=SandboxPolicy.standard())
    outcome = run_encoded(backend, "def f(array): return [array * 2, b'x' * 300_000]", np.arange(200_000.0))
    doubled, text = outcome.unwrap()
    assert np.array_equal(doubled, np.arange(200_000.0) * 2)
    doubled[0] = 1
    assert text == b"x" * 300_000


def test_hooks_see_the_call_without_its_arguments(backend: Any) -> None:
    seen: list[Any] = []
    backend.on_submit(lambda call: seen.append(("submit", call.function_name, call.args)))
    backend.on_complete(
        lambda call, metrics, error: seen.append(("complete", call.args, type(metrics).__name__, error))
    )
    assert run_encoded(backend, "def f(x): return x", [1]).value == [1]
    assert seen == [("submit", "f", []), ("complete", [], "ExecutionMetrics", None)]


def test_a_call_that_the_configuration_forbids_is_refused(backend: Any) -> None:
    call = EncodedCall.from_call(WorkerCall("", "f"), deadline_s=DEADLINE_S, limits=Limits(scratch_bytes=5))
    with pytest.raises(ConfigurationError, match="scratch_bytes"):
        asyncio.run(backend.run_encoded(call))
    with pytest.raises(ConfigurationError, match="deadline_s"):
        asyncio.run(backend.run_encoded(dataclasses.replace(call, limits=Limits(), deadline_s=-1)))


def test_a_value_stays_valid_after_its_file_is_removed(backend: Any, spill_dir: Path) -> None:
    call = EncodedCall.from_call(WorkerCall("def f(): return b'x' * 300_000", "f"), deadline_s=DEADLINE_S)
    ended: EncodedOutcome = asyncio.run(backend.run_encoded(call))
    assert not list(spill_dir.glob("*.spill"))
    assert ended.decode(backend.config.sandbox.format_of_results).value == b"x" * 300_000


REPORTS_WRONG_FORMAT = """
import gigaexec.wire.values_out as values_out
from gigaexec.calls import ValueLayout
def f():
    layout = values_out.ValueLayout
    values_out.ValueLayout = lambda name, *rest: layout({claimed!r}, *rest)
    return [1]
"""


@pytest.mark.parametrize(("results", "claimed"), [("pickle", "json"), ("data", "json"), ("data", "pickle")])
def test_a_value_in_another_format_than_requested_is_refused(
    make_backend: MakeBackend, kind: Kind, results: str, claimed: str
) -> None:
    if kind.reuses_workers and results == "data":
        pytest.skip("reused workers may always send pickles")
    backend = make_backend(sandbox=SandboxPolicy.off(results=results))
    code = REPORTS_WRONG_FORMAT.format(claimed=claimed)
    call = EncodedCall.from_call(WorkerCall(code, "f"), deadline_s=DEADLINE_S)
    ended: EncodedOutcome = asyncio.run(backend.run_encoded(call))
    assert ended.value is None
    assert type(ended.outcome.error) is ValueNotReadableError
