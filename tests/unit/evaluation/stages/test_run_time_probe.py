"""R82: the function that is appended to a program to time it."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from gigaexec.evaluation.programs import Program
from gigaexec.evaluation.stages import RuntimeFitnessStage
from gigaexec.evaluation.stages.models import ContextInputs

HOSTILE_NAMES = "range = len = list = dict = str = int = tuple = globals = gc = time = pickle = None\n"


def timed(
    code: str, *, warmup_runs: int, timed_runs: int, **inputs: Any
) -> tuple[list[int], Any, dict[str, Any]]:
    stage = RuntimeFitnessStage(function_name="f", warmup_runs=warmup_runs, timed_runs=timed_runs)
    call = stage.build_call(Program(code=code), ContextInputs(**inputs))
    namespace: dict[str, Any] = {}
    exec(call.code, namespace)
    run_times_ns, value = namespace[call.function_name](*call.args)
    return run_times_ns, value, namespace


def test_r82_warm_up_runs_are_made_and_not_counted() -> None:
    code = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls)"
    run_times_ns, value, namespace = timed(code, warmup_runs=2, timed_runs=3)
    assert len(run_times_ns) == 3
    assert value == 5
    assert len(namespace["calls"]) == 5


def test_r82_every_run_gets_fresh_arguments() -> None:
    code = "def f(context):\n    context.append(1)\n    return context"
    assert timed(code, warmup_runs=1, timed_runs=2, context=[0])[1] == [0, 1]


def test_r82_garbage_of_earlier_runs_is_collected_outside_the_timed_span() -> None:
    code = """
import gc, weakref
class Ring:
    pass
gc.disable()
former = []
def f():
    alive = sum(one() is not None for one in former)
    ring = Ring()
    ring.itself = ring
    former.append(weakref.ref(ring))
    return alive
"""
    try:
        assert timed(code, warmup_runs=1, timed_runs=3)[1] == 0
    finally:
        gc.enable()


def test_r82_names_that_a_program_shadows_do_no_harm() -> None:
    code = f"from __future__ import annotations\n{HOSTILE_NAMES}def f(): return 7"
    assert timed(code, warmup_runs=0, timed_runs=1)[1] == 7


def test_r82_a_program_that_replaces_the_clock_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 0)
    run_times_ns, _, _ = timed("def f(): return sum(range(1000))", warmup_runs=0, timed_runs=1)
    assert run_times_ns[0] > 0


def test_r82_the_lines_of_the_program_keep_their_numbers() -> None:
    stage = RuntimeFitnessStage(function_name="f")
    code = "def f():\n    return 1\n\\"
    assert stage.code_for(Program(code=code), ContextInputs()).startswith(code + "\n\n")
