"""R104: what a value's class does while it is rebuilt harms only its own call."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gigaexec import OutcomeStatus, ValueNotReadableError, WorkerCall
from tests.contract.conftest import Run

# `here` is the process id of the driver. The statement runs when the value is rebuilt.
CODE = """
import os, time
class A:
    def __init__(self, here): self.here = here
    def __setstate__(self, state):
        self.__dict__.update(state)
        {statement}
def f(here): return A(here)
"""
ENDLESS = {"loop": "while True: pass", "sleep": "time.sleep(60)"}


def code_with(statement: str) -> str:
    return CODE.format(statement=statement)


async def run_beside_a_clock(
    backend: Any, code: str, *args: Any, deadline_s: float
) -> tuple[Any, float, float]:
    """Return the outcome of a call, how long the event loop stood still at most, and how long it took."""
    longest_s, last_s = 0.0, time.perf_counter()

    async def tick() -> None:
        nonlocal longest_s, last_s
        while True:
            await asyncio.sleep(0.005)
            now_s = time.perf_counter()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s

    ticking = asyncio.create_task(tick())
    started_s = time.perf_counter()
    outcome = await backend.run(WorkerCall(code, "f", list(args)), deadline_s=deadline_s)
    took_s = time.perf_counter() - started_s
    ticking.cancel()
    return outcome, longest_s, took_s


@pytest.mark.parametrize("statement", ENDLESS.values(), ids=ENDLESS)
def test_endless_rebuilding_times_out_in_its_worker(backend: Any, run: Run, statement: str) -> None:
    assert run("def f(): return 1").value == 1
    outcome, longest_s, took_s = asyncio.run(
        run_beside_a_clock(backend, code_with(statement), 0, deadline_s=1.0)
    )
    assert outcome.status is OutcomeStatus.TIMED_OUT
    assert took_s < 3.0
    assert longest_s < 0.5
    assert run("def f(): return 2").value == 2


@pytest.mark.parametrize(
    ("statement", "status", "text"),
    [
        (
            "raise LookupError('not again')",
            OutcomeStatus.ERROR,
            "cannot be unpickled again in its worker: LookupError: not again",
        ),
        (
            "raise SystemExit(3)",
            OutcomeStatus.ERROR,
            "cannot be unpickled again in its worker: SystemExit: 3",
        ),
        ("os._exit(7)", OutcomeStatus.CRASHED, "exited with code 7"),
        ("self = self.__setstate__(state)", OutcomeStatus.ERROR, "RecursionError"),
    ],
)
def test_a_value_that_cannot_be_rebuilt_fails_its_own_call(
    run: Run, statement: str, status: OutcomeStatus, text: str
) -> None:
    outcome = run(code_with(statement), 0)
    assert outcome.status is status
    assert text in str(outcome.error)
    assert run("def f(): return 2").value == 2


def test_the_error_shows_where_rebuilding_failed(run: Run) -> None:
    error = run(code_with("raise LookupError('not again')"), 0).error
    assert type(error) is ValueNotReadableError
    assert "in __setstate__" in error.stderr


def test_classes_are_created_anew_in_the_worker_too(run: Run) -> None:
    code = """
class Once(type):
    def __new__(kind, name, bases, namespace):
        if "seen" in namespace: raise LookupError("created twice")
        return super().__new__(kind, name, bases, namespace)
class A(metaclass=Once): pass
A.seen = True
def f(): return A()
"""
    # cloudpickle sets attributes after the creation of a class, so this class can be created again.
    assert run(code).value.seen
    hidden = code.replace("A.seen = True", "").replace('if "seen" in namespace', "if CREATED")
    outcome = run(hidden.replace("class Once", "CREATED = []\nclass Once") + "CREATED.append(1)\n")
    assert outcome.status is OutcomeStatus.ERROR
    assert "created twice" in str(outcome.error)


def test_an_error_while_unpickling_in_the_driver_is_described_without_its_code(
    run: Run, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    code = f"""
import os, pathlib
class Mine(Exception):
    def __str__(self): pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); return "mine"
class A:
    def __init__(self, here): self.here = here
    def __setstate__(self, state):
        if os.getpid() == state["here"]: raise Mine("x")
def f(here): return A(here)
"""
    error = run(code, os.getpid()).error
    assert type(error) is ValueNotReadableError
    assert error.summary == "the return value cannot be unpickled in the driver: Mine"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not mark.exists()


@pytest.mark.parametrize("padding", [0, 300_000], ids=["inline", "spilled"])
def test_rebuilding_that_hangs_only_in_the_driver_is_abandoned(
    backend: Any, run: Run, caplog: pytest.LogCaptureFixture, padding: int
) -> None:
    code = code_with("while os.getpid() == self.here: time.sleep(0.01)")
    code += f"    value = A(here); value.padding = bytes({padding}); return value\n"
    code = code.replace("def f(here): return A(here)", "def f(here):")
    with caplog.at_level(logging.WARNING):
        outcome, longest_s, took_s = asyncio.run(
            run_beside_a_clock(backend, code, os.getpid(), deadline_s=1.0)
        )
    assert type(outcome.error) is ValueNotReadableError
    assert "took longer than 2 s, and was abandoned" in str(outcome.error)
    assert took_s < 6.0
    assert longest_s < 0.5
    assert backend.abandoned_decodes == 1
    assert "values abandoned so far by this backend: 1" in caplog.text
    assert run(code_with("pass"), 0).value.here == 0


def test_cancelling_a_call_while_its_value_is_unpickled_returns_at_once(backend: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = code_with(
        f"while os.getpid() == self.here: os.close(os.open({str(begun)!r}, os.O_CREAT)); time.sleep(0.01)"
    )

    async def main() -> float:
        task = asyncio.create_task(backend.run(WorkerCall(code, "f", [os.getpid()]), deadline_s=60.0))
        while not begun.exists():
            await asyncio.sleep(0.01)
        started_s = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - started_s

    assert asyncio.run(main()) < 1.0
    assert backend.abandoned_decodes == 0
