"""map_calls, run_call and run_exec_runner over fake backends."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.calls import Outcome, OutcomeStatus, WorkerCall
from gigaexec.errors import (
    CallCancelledError,
    CallTimeoutError,
    ConfigurationError,
    ExecRunnerError,
    GigaexecError,
    InvalidCallError,
    MemoryExceededError,
    OutputExceededError,
    QueueTimeoutError,
    SpillError,
    ValueNotPicklableError,
    WorkerCrashedError,
)
from gigaexec.runner import map_calls, run_call, run_exec_runner


class ValueBackend:
    """A backend without outcomes. A call's value is its arguments; an exception among them is raised."""

    def __init__(self) -> None:
        self.calls: list[WorkerCall] = []
        self.deadlines: list[float] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        self.calls.append(call)
        self.deadlines.append(deadline_s)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for argument in call.args:
                if isinstance(argument, BaseException):
                    raise argument
                if isinstance(argument, asyncio.Event):
                    await argument.wait()
            await asyncio.sleep(0)
            return call.args
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def shutdown(self, *, wait: bool = False) -> None: ...


def call(*args: Any) -> WorkerCall:
    return WorkerCall("def f(): ...", "f", list(args))


def values(
    calls: Any, backend: ExecutorBackend, take: int | None = None, deadline_s: float = 5.0, **options: Any
) -> list[Any]:
    """Return the values of the first `take` outcomes."""

    async def collect() -> list[Any]:
        async with aclosing(map_calls(calls, deadline_s=deadline_s, backend=backend, **options)) as outcomes:
            found: list[Any] = []
            async for outcome in outcomes:
                found.append((outcome.index, outcome.value))
                if len(found) == take:
                    break
            return found

    return asyncio.run(collect())


class Counted:
    """An endless iterable that counts the items taken from it."""

    def __init__(self) -> None:
        self.consumed = 0

    def __iter__(self) -> Iterator[WorkerCall]:
        for number in itertools.count():
            self.consumed += 1
            yield call(number)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("max_in_flight", [1, 3, 100])
def test_map_calls_yields_every_outcome_once(ordered: bool, max_in_flight: int) -> None:
    found = values(map(call, range(20)), ValueBackend(), ordered=ordered, max_in_flight=max_in_flight)
    assert sorted(found) == [(number, [number]) for number in range(20)]
    assert not ordered or found == sorted(found)


@pytest.mark.parametrize("ordered", [True, False])
def test_map_calls_consumes_no_more_than_is_in_flight(ordered: bool) -> None:
    calls, backend = Counted(), ValueBackend()
    assert len(values(calls, backend, take=50, ordered=ordered, max_in_flight=4)) == 50
    assert calls.consumed <= 50 + 4
    assert backend.most_running <= 4


def test_map_calls_by_default_holds_a_few_calls_for_each_worker() -> None:
    class ThreeWorkers(ValueBackend):
        max_concurrency = 3

    for ordered, in_flight in ((True, 48), (False, 6)):
        calls, backend = Counted(), ThreeWorkers()
        values(calls, backend, take=1, ordered=ordered)
        assert calls.consumed == in_flight


def test_map_calls_in_order_waits_for_the_first_and_unordered_does_not() -> None:
    async def collect(ordered: bool) -> list[int]:
        gate = asyncio.Event()
        calls = [call(gate), call(1), call(2), call(3)]
        found = []
        outcomes = map_calls(calls, deadline_s=5, backend=ValueBackend(), ordered=ordered, max_in_flight=4)
        if ordered:
            asyncio.get_running_loop().call_later(0.05, gate.set)
        async for outcome in outcomes:
            found.append(outcome.index)
            if len(found) == 3:
                gate.set()
        return found

    assert asyncio.run(collect(True)) == [0, 1, 2, 3]
    assert asyncio.run(collect(False)) == [1, 2, 3, 0]


@pytest.mark.parametrize("ordered", [True, False])
def test_map_calls_that_is_left_early_cancels_what_is_in_flight(ordered: bool) -> None:
    async def leave() -> ValueBackend:
        backend, gate = ValueBackend(), asyncio.Event()
        calls = [call(0), *(call(gate) for _ in range(5))]
        outcomes = map_calls(calls, deadline_s=5, backend=backend, ordered=ordered, max_in_flight=4)
        async with aclosing(outcomes) as closing:
            async for _ in closing:
                break
        assert len(asyncio.all_tasks()) == 1, "expected no task but the test's own"
        return backend

    backend = asyncio.run(leave())
    assert backend.running == 0
    assert backend.cancelled == 3


def test_map_calls_takes_an_asynchronous_source() -> None:
    async def source() -> AsyncIterator[WorkerCall]:
        for number in range(5):
            await asyncio.sleep(0)
            yield call(number)

    assert values(source(), ValueBackend()) == [(number, [number]) for number in range(5)]


def test_map_calls_over_nothing_yields_nothing() -> None:
    assert values([], ValueBackend()) == []


def test_map_calls_passes_on_what_its_source_raises_and_cancels_what_is_in_flight() -> None:
    backend = ValueBackend()

    async def main() -> None:
        gate = asyncio.Event()

        def source() -> Iterator[WorkerCall]:
            yield call(gate)
            yield call(gate)
            raise LookupError("no more programs")

        with pytest.raises(LookupError, match="no more programs"):
            async for _ in map_calls(source(), deadline_s=5, backend=backend, max_in_flight=8):
                pass

    asyncio.run(main())
    assert backend.running == 0


def test_map_calls_refuses_what_is_no_call_and_says_which() -> None:
    with pytest.raises(ConfigurationError, match=r"calls\[1\] must be a WorkerCall, not str"):
        values([call(1), "def f(): ..."], ValueBackend())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight must be a positive whole number, not 0"),
        ({"max_in_flight": True}, "max_in_flight must be a positive whole number, not True"),
        ({"max_in_flight": 1.5}, "max_in_flight must be a positive whole number, not 1.5"),
        ({"deadline_s": math.nan}, "deadline_s must be a positive number of seconds"),
        ({"deadline_s": -1}, "deadline_s must be a positive number of seconds"),
    ],
)
def test_map_calls_refuses_limits_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    calls = Counted()
    with pytest.raises(ConfigurationError, match=message):
        values(calls, ValueBackend(), **options)
    assert calls.consumed == 0


def test_an_invalid_call_among_many_is_an_outcome() -> None:
    async def main() -> list[Outcome]:
        calls = [call(1), call(InvalidCallError("args[0] cannot be pickled")), call(3)]
        return [outcome async for outcome in map_calls(calls, deadline_s=5, backend=ValueBackend())]

    outcomes = asyncio.run(main())
    assert [outcome.status for outcome in outcomes] == ["ok", "error", "ok"]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert isinstance(outcomes[1].error, InvalidCallError)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ExecRunnerError("x"), OutcomeStatus.ERROR),
        (ValueNotPicklableError("x"), OutcomeStatus.ERROR),
        (WorkerCrashedError("x"), OutcomeStatus.CRASHED),
        (MemoryExceededError("x"), OutcomeStatus.MEMORY_EXCEEDED),
        (OutputExceededError("x"), OutcomeStatus.OUTPUT_EXCEEDED),
        (CallTimeoutError("x"), OutcomeStatus.TIMED_OUT),
        (CallCancelledError("x"), OutcomeStatus.CANCELLED),
        (QueueTimeoutError("x"), OutcomeStatus.INFRASTRUCTURE),
        (SpillError("x"), OutcomeStatus.INFRASTRUCTURE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, GigaexecError) else None,
)
def test_run_call_makes_outcomes_of_what_a_plain_backend_raises(
    raised: GigaexecError, status: OutcomeStatus
) -> None:
    outcome = asyncio.run(run_call(call(raised), deadline_s=5, backend=ValueBackend()))
    assert (outcome.status, outcome.error, outcome.value) == (status, raised, None)


def test_run_call_knows_the_builtin_timeout_of_a_plain_backend() -> None:
    outcome = asyncio.run(run_call(call(TimeoutError()), deadline_s=2.5, backend=ValueBackend()))
    assert outcome.status is OutcomeStatus.TIMED_OUT
    assert isinstance(outcome.error, CallTimeoutError)
    assert (str(outcome.error), outcome.error.deadline_s) == ("timed out after 2.5 s", 2.5)


def test_run_call_gives_the_value_of_a_plain_backend() -> None:
    outcome = asyncio.run(run_call(call(1, 2), deadline_s=5, backend=ValueBackend()))
    assert (outcome.status, outcome.value, outcome.metrics) == (OutcomeStatus.OK, [1, 2], None)


def test_run_call_refuses_a_queue_limit_that_the_backend_does_not_know() -> None:
    backend = ValueBackend()
    with pytest.raises(
        ConfigurationError, match=r"ValueBackend has no run\(\) and does not take queue_timeout_s"
    ):
        asyncio.run(run_call(call(), deadline_s=5, queue_timeout_s=1, backend=backend))
    assert backend.calls == []


def test_a_refused_configuration_is_raised_not_turned_into_an_outcome() -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        asyncio.run(
            run_call(call(ConfigurationError("no such folder")), deadline_s=5, backend=ValueBackend())
        )


class OutcomesBackend(ValueBackend):
    """A `ValueBackend` that also reports outcomes."""

    async def run(
        self, call: WorkerCall, *, deadline_s: float, queue_timeout_s: float | None = None
    ) -> Outcome:
        return Outcome(OutcomeStatus.OK, value=("run", deadline_s, queue_timeout_s))


def test_run_call_uses_run_where_a_backend_has_it() -> None:
    outcome = asyncio.run(run_call(call(), deadline_s=5, queue_timeout_s=0.5, backend=OutcomesBackend()))
    assert outcome.value == ("run", 5, 0.5)


def test_section_1_run_exec_runner_makes_one_call_of_its_parameters() -> None:
    backend = ValueBackend()
    value = asyncio.run(
        run_exec_runner(
            code="def g(): ...",
            function_name="g",
            args=[1],
            kwargs={"a": 2},
            python_path=["/x"],
            env_updates={"A": None},
            timeout=3.5,
            backend=backend,
        )
    )
    assert value == [1]
    assert backend.calls == [WorkerCall("def g(): ...", "g", [1], {"a": 2}, ["/x"], {"A": None})]
    assert backend.deadlines == [3.5]


def test_section_1_run_exec_runner_needs_code_function_and_timeout_alone() -> None:
    backend = ValueBackend()
    asyncio.run(run_exec_runner(code="", function_name="g", timeout=1, backend=backend))
    assert backend.calls == [WorkerCall("", "g")]


@pytest.mark.parametrize("error", [ExecRunnerError("x"), CallTimeoutError("x"), SpillError("x")])
def test_section_1_run_exec_runner_raises_what_the_backend_raises(error: GigaexecError) -> None:
    def backend_that_raises() -> ExecutorBackend:
        class Raises(ValueBackend):
            async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
                raise error

        return Raises()

    with pytest.raises(type(error)) as raised:
        asyncio.run(run_exec_runner(code="", function_name="g", timeout=1, backend=backend_that_raises()))
    assert raised.value is error
