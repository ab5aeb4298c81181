"""R107: an instance travels with its class, and with the globals that the methods of the class use."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gigaexec import OutcomeStatus, ValueNotPicklableError
from tests.contract.conftest import Run

POINT = """
import threading
from dataclasses import dataclass
LOCK = threading.Lock()
@dataclass
class Point:
    x: int
    def move(self):
        {statement}
def other():
    with LOCK: pass
def f():
    return {value}
"""


def test_a_global_that_the_class_does_not_use_is_not_sent(run: Run) -> None:
    outcome = run(POINT.format(statement="self.x += 1", value="Point(1)"))
    assert outcome.value.x == 1


@pytest.mark.parametrize("value", ["Point(1)", "[{'points': (1, Point(1))}]", "Point", "Point(1).move"])
def test_the_error_names_the_global_and_where_it_is_used(run: Run, value: str) -> None:
    outcome = run(POINT.format(statement="with LOCK: self.x += 1", value=value))
    assert outcome.status is OutcomeStatus.ERROR
    assert type(outcome.error) is ValueNotPicklableError
    assert "Point.move (line 8) uses the global LOCK of type lock" in outcome.error.summary
    assert "cannot pickle '_thread.lock' object" in outcome.error.summary


def test_a_global_that_a_function_of_a_function_uses_is_named(run: Run) -> None:
    outcome = run(POINT.format(statement="other()", value="Point(1)"))
    assert "other (line 10) uses the global LOCK of type lock" in str(outcome.error)


def test_a_closure_variable_is_named(run: Run) -> None:
    code = "import threading\ndef f():\n    gate = threading.Lock()\n    return lambda: gate\n"
    assert "f.<locals>.<lambda> (line 4) uses the variable gate of type lock" in str(run(code).error)


def test_a_global_of_a_helper_module_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("import threading\nGATE = threading.Lock()\ndef g(): return GATE\n")
    code = "import helper\nclass A:\n    def move(self): return helper.g()\ndef f(): return A()"
    summary = run(code, python_path=[str(tmp_path)]).error.summary  # type: ignore[union-attr]
    assert "GATE of type lock" in summary


def test_a_field_that_cannot_be_pickled_is_not_blamed_on_a_global(run: Run) -> None:
    outcome = run(POINT.format(statement="pass", value="Point(LOCK)"))
    assert "cannot pickle '_thread.lock' object" in str(outcome.error)
    assert "uses the global" not in str(outcome.error)


def test_the_size_of_a_global_is_measured_and_large_ones_are_reported(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
TABLE = bytes(range(256)) * (80 * 1024)
class Model:
    def predict(self): return TABLE[0]
def f(size):
    global TABLE
    TABLE = TABLE[:size]
    return Model()
"""
    with caplog.at_level(logging.WARNING):
        small = run(code, 15 * 2**20)
        assert small.metrics is not None
        assert small.metrics.bytes_out > 15 * 2**20
        assert "classes and functions" not in caplog.text
        large = run(code, 20 * 2**20)
    assert large.metrics is not None
    assert large.metrics.bytes_out > 20 * 2**20
    assert "of the return value, 20 MiB are classes and functions" in caplog.text
    assert "Model.predict (line 4) uses the global TABLE of type bytes, 20 MiB" in caplog.text


def test_a_large_value_with_a_small_class_is_not_reported(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    code = "class Model: pass\ndef f():\n    model = Model(); model.data = bytes(20 * 2**20); return model"
    with caplog.at_level(logging.WARNING):
        assert len(run(code).value.data) == 20 * 2**20
    assert "classes and functions" not in caplog.text


def test_a_large_attribute_of_a_class_is_reported(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    code = "class Model: TABLE = bytes(20 * 2**20)\ndef f(): return Model()"
    with caplog.at_level(logging.WARNING):
        assert len(run(code).value.TABLE) == 20 * 2**20
    assert "the largest part: Model.TABLE, 20 MiB" in caplog.text
