"""The driver runs no method of a value's class by itself: R104."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gigaexec
from gigaexec import ForkserverBackend, LokyBackend, WorkerCall, WorkerConfig
from gigaexec.evaluation import ProgramEvaluation, evaluate_programs
from gigaexec.problems import Problem
from gigaexec.programs import Program
from tests.process.scripts import run_script

# Each special method writes its name and the process id to a file, then raises.
RECORDING = """
import os
def recorder(name, path):
    def method(self, *_):
        with open(path, "a") as file:
            print(name, os.getpid(), file=file)
        raise RuntimeError(name)
    return method
NAMES = ("repr", "str", "format", "eq", "ne", "lt", "hash", "bool", "len", "iter", "contains", "getitem",
         "call", "int", "float", "index", "enter", "await")
def f(path):
    class Recording:
        pass
    for name in NAMES:
        setattr(Recording, f"__{name}__", recorder(name, path))
    return Recording()
def g(path):
    return [f(path)], {"key": f(path)}
"""


@pytest.fixture(params=[LokyBackend, ForkserverBackend])
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    backend = request.param(WorkerConfig(max_workers=1))
    yield backend
    backend.shutdown_now(wait=True)


def methods_run_here(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines() if line.endswith(f" {os.getpid()}")]


@pytest.mark.parametrize("function", ["f", "g"])
def test_r104_the_sync_functions_run_no_method_of_a_value(
    backend: Any, tmp_path: Path, function: str
) -> None:
    path = tmp_path / "methods"
    value = gigaexec.run(RECORDING, function, str(path), backend=backend)
    (outcome,) = gigaexec.map([WorkerCall(RECORDING, function, [str(path)])], backend=backend)
    assert methods_run_here(path) == []
    assert type(value).__name__ == type(outcome.value).__name__


def test_r104_an_event_loop_in_debug_mode_runs_no_method_of_a_value(
    backend: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "methods"

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0  # logs every callback with its task
        calls = [WorkerCall(RECORDING, name, [str(path)]) for name in "fg"]
        async for outcome in gigaexec.map_calls(calls, deadline_s=30.0, backend=backend):
            assert outcome.ok, outcome.status
            assert len(repr(outcome)) < 1000
        task = asyncio.create_task(backend.run(calls[0], deadline_s=30.0))
        await task
        repr(task)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main(), debug=True)
    assert methods_run_here(path) == []


def test_r104_a_repr_that_exits_ends_neither_its_own_call_nor_the_next() -> None:
    script = """
        import gigaexec
        code = "class V:\\n    def __repr__(self): raise SystemExit('gotcha')\\ndef f(): return V()"
        print(type(gigaexec.run(code, "f")).__name__, gigaexec.run("def f(): return 1", "f"))
    """
    assert run_script(script) == "V 1\n"


def test_r104_a_large_value_is_not_written_as_text() -> None:
    script = """
        import re
        from pathlib import Path
        import gigaexec
        value = gigaexec.run("def f(): return bytes([128]) * 80_000_000", "f")
        assert len(value) == 80_000_000
        # ru_maxrss would include the peak of the process that forked this one.
        print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024)
    """
    most_mib = int(run_script(script))
    assert most_mib < 300, f"{most_mib} MiB for a value of 80 MB"


def test_r104_a_value_that_hangs_in_the_driver_delays_neither_run_nor_the_exit() -> None:
    script = """
        import os, time
        import gigaexec
        code = '''
        import os, time
        class A:
            def __init__(self, here): self.here = here
            def __setstate__(self, state):
                if os.getpid() == state["here"]: time.sleep(600)
        def f(here): return A(here)
        '''
        import textwrap
        started_s = time.monotonic()
        try:
            gigaexec.run(textwrap.dedent(code), "f", os.getpid(), deadline_s=1)
        except gigaexec.ValueNotReadableError as error:
            print(error.summary)
        print(time.monotonic() - started_s)
    """
    started_s = time.monotonic()
    summary, took_s = run_script(script).splitlines()
    assert "took longer than 2 s, and was abandoned" in summary
    assert float(took_s) < 15
    assert time.monotonic() - started_s < 40


def test_r104_an_evaluation_runs_no_method_of_a_value(backend: Any, tmp_path: Path) -> None:
    marks = tmp_path / "methods"
    (tmp_path / "validate.py").write_text(
        f"{RECORDING}\ndef validate(payload):\n"
        f"    return {{'fitness': 1.0, 'extra': f({str(marks)!r})}}, f({str(marks)!r})\n"
    )
    (tmp_path / "metrics.yaml").write_text(
        "specs:\n  fitness: {description: x, is_primary: true, higher_is_better: true}\n"
    )
    (tmp_path / "task_description.txt").write_text("x")
    program = Program(code=f"{RECORDING}\ndef entrypoint(): return 1\n", name="a")

    async def main() -> list[ProgramEvaluation]:
        asyncio.get_running_loop().slow_callback_duration = 0
        problem = Problem.load(tmp_path)
        evaluations = evaluate_programs(problem, [program], timeout_s=30.0, backend=backend)
        return [each async for each in evaluations]

    (evaluation,) = asyncio.run(main(), debug=True)
    assert evaluation.is_valid, evaluation.reason
    assert len(repr(evaluation)) < 2000
    evaluation.to_json()
    assert methods_run_here(marks) == []
