"""R62: the dispatch of hooks, and which objects count as a backend."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from gigaexec.backends.contract import ExecutorBackend, LifecycleObservable, OutcomeBackend
from gigaexec.backends.local.loky import LokyBackend
from gigaexec.calls import ExecutionMetrics, WorkerCall
from gigaexec.hooks import HookDispatcher

CALL = WorkerCall("def f(): ...", "f")
METRICS = ExecutionMetrics(1, 1.0, 1.0, 1.0, 1)


class ValueBackend:
    """A backend with the required methods alone."""

    async def execute(self, call: WorkerCall, *, deadline_s: float) -> Any:
        return None

    async def shutdown(self, *, wait: bool = False) -> None: ...


def test_section_1_loky_backend_has_all_the_protocols() -> None:
    backend = LokyBackend()
    assert isinstance(backend, ExecutorBackend)
    assert isinstance(backend, OutcomeBackend)
    assert isinstance(backend, LifecycleObservable)


def test_section_1_execute_and_shutdown_make_a_backend_and_no_more() -> None:
    backend: object = ValueBackend()
    assert isinstance(backend, ExecutorBackend)
    assert not isinstance(backend, OutcomeBackend)
    assert not isinstance(backend, LifecycleObservable)
    assert not isinstance(object(), ExecutorBackend)


class Recorder:
    """A handler that records the arguments of its calls."""

    def __init__(self, name: str, seen: list[tuple[object, ...]]) -> None:
        self._name = name
        self._seen = seen

    def __call__(self, *facts: object) -> None:
        self._seen.append((self._name, *facts))


def test_r62_handlers_run_in_registration_order_with_what_happened() -> None:
    hooks = HookDispatcher()
    seen: list[tuple[object, ...]] = []
    error = ValueError("x")
    for name in ("first", "second"):
        recorder = Recorder(name, seen)
        hooks.add_submit(recorder)
        hooks.add_complete(recorder)
        hooks.add_shutdown(recorder)
    hooks.submitted(CALL)
    hooks.completed(CALL, METRICS, None)
    hooks.completed(CALL, None, error)
    hooks.shut_down()
    assert seen == [
        ("first", CALL),
        ("second", CALL),
        ("first", CALL, METRICS, None),
        ("second", CALL, METRICS, None),
        ("first", CALL, None, error),
        ("second", CALL, None, error),
        ("first",),
        ("second",),
    ]


def notify(hooks: HookDispatcher, event: str) -> None:
    if event == "on_submit":
        hooks.submitted(CALL)
    elif event == "on_complete":
        hooks.completed(CALL, METRICS, None)
    else:
        hooks.shut_down()


def register(hooks: HookDispatcher, handler: Callable[..., object]) -> None:
    hooks.add_submit(handler)
    hooks.add_complete(handler)
    hooks.add_shutdown(handler)


@pytest.mark.parametrize("event", ["on_submit", "on_complete", "on_shutdown"])
def test_r62_a_handler_that_raises_is_logged_with_its_event_and_stops_no_other(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = HookDispatcher()
    seen: list[tuple[object, ...]] = []

    def broken(*facts: object) -> None:
        raise RuntimeError("the handler is broken")

    register(hooks, broken)
    register(hooks, Recorder("whole", seen))
    with caplog.at_level(logging.ERROR, "gigaexec"):
        notify(hooks, event)
    assert [name for name, *_ in seen] == ["whole"]
    (record,) = caplog.records
    assert event in record.getMessage()
    assert "broken" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


def test_r62_a_handler_may_register_another_while_it_runs() -> None:
    hooks = HookDispatcher()
    seen: list[tuple[object, ...]] = []
    hooks.add_submit(Recorder("first", seen))
    hooks.add_submit(lambda _: hooks.add_submit(Recorder("late", seen)))
    hooks.submitted(CALL)
    assert seen == [("first", CALL)]


def test_r40_cleared_hooks_are_silent() -> None:
    hooks = HookDispatcher()
    seen: list[tuple[object, ...]] = []
    register(hooks, Recorder("any", seen))
    hooks.clear()
    for event in ("on_submit", "on_complete", "on_shutdown"):
        notify(hooks, event)
    assert seen == []
