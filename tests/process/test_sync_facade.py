"""`gigaexec.run` and `gigaexec.map`, without an event loop and inside a running one, as in notebooks."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import gigaexec
from tests.process.scripts import run_script

DOUBLE = "def f(x, add=0):\n    return 2 * x + add\n"


def calls(count: int) -> list[gigaexec.WorkerCall]:
    return [gigaexec.WorkerCall(DOUBLE, "f", [number]) for number in range(count)]


def test_run_returns_the_value_or_raises() -> None:
    assert gigaexec.run(DOUBLE, "f", 20, kwargs={"add": 2}) == 42
    with pytest.raises(gigaexec.ExecRunnerError, match="ZeroDivisionError"):
        gigaexec.run("def f(): 1 / 0", "f")
    with pytest.raises(TimeoutError):
        gigaexec.run("def f():\n    while True: pass", "f", deadline_s=0.2)


@pytest.mark.parametrize("ordered", [True, False])
def test_map_yields_an_outcome_for_each_call(ordered: bool) -> None:
    outcomes = list(gigaexec.map(calls(20), ordered=ordered))
    assert {outcome.index: outcome.value for outcome in outcomes} == {
        number: 2 * number for number in range(20)
    }
    if ordered:
        assert [outcome.index for outcome in outcomes] == list(range(20))


def test_run_and_map_work_inside_a_running_loop() -> None:
    async def cell_of_a_notebook() -> tuple[int, list[int]]:
        return gigaexec.run(DOUBLE, "f", 1), [outcome.value for outcome in gigaexec.map(calls(5))]

    assert asyncio.run(cell_of_a_notebook()) == (2, [0, 2, 4, 6, 8])


def test_run_works_on_any_thread() -> None:
    values: list[int] = []
    threads = [threading.Thread(target=lambda: values.append(gigaexec.run(DOUBLE, "f", 4))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [8, 8, 8]


def test_leaving_map_early_ends_the_calls_in_flight() -> None:
    endless = [gigaexec.WorkerCall("def f():\n    while True: pass", "f")] * 3
    for outcome in gigaexec.map([*calls(1), *endless], deadline_s=600.0):
        assert outcome.value == 0
        break
    assert gigaexec.run(DOUBLE, "f", 3) == 6


def test_ctrl_c_inside_a_running_loop_does_not_wait_for_the_deadline(tmp_path: Path) -> None:
    printed = run_script(
        """
        import asyncio, os, signal, sys, threading, time, gigaexec
        # A shell starts background jobs with SIGINT ignored, and this process inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        path = sys.argv[1]
        program = "def f(path):\\n    open(path, 'w').close()\\n    while True: pass"
        def interrupt_when_it_runs():
            while not os.path.exists(path):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
        async def cell():
            threading.Thread(target=interrupt_when_it_runs).start()
            try:
                gigaexec.run(program, "f", path, deadline_s=600)
            except KeyboardInterrupt:
                print("interrupted")
        loop = asyncio.new_event_loop()
        loop.run_until_complete(cell())
        loop.close()
        gigaexec.shutdown_executor(wait=True)
        """,
        str(tmp_path / "ready"),
    )
    assert printed == "interrupted\n"
