"""R2, R7, R8, R20, R23, R24: values of all kinds arrive equal, or fail with a clear error."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaexec import InvalidCallError, OutcomeStatus, ValueNotPicklableError
from tests.contract.conftest import Run


def test_r8_instances_of_the_program_s_classes_come_back(run: Run) -> None:
    code = """
import dataclasses, enum, typing
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    colour: Colour = Colour.RED
    def norm(self): return abs(self.x) * SCALE
class Pair(typing.NamedTuple):
    a: int
    b: Point
SCALE = 10
def f(): return Pair(1, Point(-3))
"""
    value = run(code).value
    assert value.a == 1
    assert value.b.norm() == 30
    assert value.b.colour.name == "RED"
    assert type(value.b).__name__ == "Point"


def test_r8_functions_closures_and_classes_come_back(run: Run) -> None:
    code = """
import functools, math
factor = 3
def make(n):
    class Inner:
        def __init__(self, x): self.x = x
        class Deep:
            def get(self): return n
        def scaled(self): return self.x * factor * n
    def closure(x): return Inner(x).scaled() + math.floor(0.5)
    return closure, Inner, Inner.Deep(), functools.partial(closure, 1), lambda: make
def f(): return make(5)
"""
    closure, inner, deep, partial, again = run(code).value
    assert closure(2) == 30
    assert inner(1).scaled() == 15
    assert deep.get() == 5
    assert partial() == 15
    assert again()(1)[0](1) == 3


def test_r8_classes_of_a_helper_module_come_back(run: Run, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(
        "class Shape:\n    sides = 4\n    def area(self): return self.sides ** 2\n"
    )
    value = run("import helper\ndef f(): return helper.Shape()", python_path=[str(tmp_path)]).value
    assert value.area() == 16


def test_r8_an_instance_of_the_program_s_exception_class_can_be_returned(run: Run) -> None:
    code = """
class Mine(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b
    def __reduce__(self): return Mine, (1, 2)
def f(): return Mine(1, 2)
"""
    assert run(code).value.b == 2


@pytest.mark.parametrize("padding", [0, 300_000], ids=["inline", "spilled"])
def test_r24_cyclic_structures_come_back(run: Run, padding: int) -> None:
    code = """
def f(padding):
    value = {"list": [1], "padding": bytes(padding)}
    value["self"] = value
    value["list"].append(value["list"])
    return value
"""
    value = run(code, padding).value
    assert value["self"] is value
    assert value["list"][1] is value["list"]
    assert len(value["padding"]) == padding


def test_r24_arrays_of_every_kind_come_back(run: Run, tmp_path: Path) -> None:
    code = """
import numpy as np
def f(folder):
    mapped = np.memmap(folder + "/map", dtype="f8", mode="w+", shape=(300, 100))
    mapped[:] = np.arange(30_000).reshape(300, 100)
    return {
        "structured": np.array([(1, 2.5, "a")] * 5000, dtype=[("n", "i4"), ("x", "f8", (1,)), ("s", "U3")]),
        "memmap": mapped,
        "fortran": np.asfortranarray(np.arange(60_000.0).reshape(300, 200)),
        "view": np.arange(100_000)[::7],
        "objects": np.array([None, [1], "x"], dtype=object),
        "empty": np.empty((0, 3)),
        "scalar": np.float32(1.5),
        "masked": np.ma.masked_array([1, 2, 3], [0, 1, 0]),
        "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    }
"""
    value = run(code, str(tmp_path)).value
    assert value["structured"].dtype == np.dtype([("n", "i4"), ("x", "f8", (1,)), ("s", "U3")])
    assert value["structured"]["s"].tolist() == ["a"] * 5000
    np.testing.assert_array_equal(value["memmap"], np.arange(30_000.0).reshape(300, 100))
    np.testing.assert_array_equal(value["fortran"], np.arange(60_000.0).reshape(300, 200))
    assert value["fortran"].flags.f_contiguous
    np.testing.assert_array_equal(value["view"], np.arange(100_000)[::7])
    assert value["objects"].tolist() == [None, [1], "x"]
    assert value["empty"].shape == (0, 3)
    assert isinstance(value["scalar"], np.float32)
    assert value["masked"].tolist() == [1, None, 3]
    assert value["dates"][0] == np.datetime64("2020-01-01")


def test_r20_r24_a_large_value_owns_its_memory(run: Run, spill_dir: Path) -> None:
    value = run("import numpy as np\ndef f(): return np.arange(2_000_000), list(range(500_000))").value
    assert not list(spill_dir.glob("*.spill")), "the spill file must be removed"
    gc.collect()
    run("import numpy as np\ndef f(): return np.zeros(2_000_000)")  # reuses the memory if it was freed
    array, numbers = value
    array += 1  # the array is writable
    assert array[-1] == 2_000_000
    assert numbers == list(range(500_000))


def test_r20_values_around_the_inline_limit_come_back(run: Run) -> None:
    code = "def f(size): return bytes(size)"
    for size in (0, 1, 65_000, 65_535, 65_536, 65_537, 70_000, 1_000_000):
        assert run(code, size).value == bytes(size)


def test_r20_many_small_objects_and_one_large_one_come_back(run: Run) -> None:
    code = """
def f():
    return [str(n) for n in range(30_000)], 'x' * 3_000_000, {n: (n, str(n)) for n in range(9_999)}
"""
    value = run(code).value
    assert value[0] == [str(number) for number in range(30_000)]
    assert value[1] == "x" * 3_000_000
    assert value[2] == {number: (number, str(number)) for number in range(9_999)}


def test_r24_large_arguments_arrive(run: Run) -> None:
    sent: list[Any] = [np.arange(1_000_000.0), "x" * 1_000_000, list(range(100_000))]
    code = "def f(a, b, c): return float(a.sum()), len(b), sum(c)"
    assert run(code, *sent).value == (499_999_500_000.0, 1_000_000, 4_999_950_000)


def test_r24_classes_of_the_caller_s_main_module_arrive_by_value(run: Run) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Local:\n    def get(self): return 7\ndef double(x): return 2 * x", namespace)
    assert (
        run(
            "def f(local, double): return double(local.get())", namespace["Local"](), namespace["double"]
        ).value
        == 14
    )


@pytest.mark.parametrize(
    "expression", ["__import__('socket').socket()", "(n for n in ())", "__import__('threading').Lock()"]
)
def test_r23_an_unpicklable_value_is_an_error_and_leaves_no_file(
    run: Run, spill_dir: Path, expression: str
) -> None:
    for value in (expression, f"[b'x' * 200_000, {expression}]"):
        outcome = run(f"def f(): return {value}")
        assert outcome.status is OutcomeStatus.ERROR
        assert type(outcome.error) is ValueNotPicklableError
        assert "cannot be pickled" in outcome.error.summary
        assert not list(spill_dir.glob("*.spill"))


def test_r7_a_value_whose_pickling_raises_or_exits_is_the_call_s_error(run: Run) -> None:
    for act in ("raise ValueError('mine')", "raise SystemExit(3)", "raise KeyboardInterrupt", "return 1 / 0"):
        outcome = run(f"class Bad:\n    def __reduce__(self):\n        {act}\ndef f(): return Bad()")
        assert type(outcome.error) is ValueNotPicklableError
    outcome = run("def f():\n    value = []\n    for _ in range(100_000): value = [value]\n    return value")
    assert type(outcome.error) is ValueNotPicklableError
    assert "deep recursion" in outcome.error.summary


def test_r23_an_argument_that_cannot_be_pickled_is_named_and_nothing_starts(
    run: Run, spill_dir: Path
) -> None:
    with pytest.raises(InvalidCallError, match=r"args\[1\] of type generator cannot be pickled"):
        run("def f(*_): pass", 1, (n for n in range(2)))
    assert not spill_dir.exists(), "an unpicklable argument must not start the pool"


class _Unloadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise LookupError('not here')",)


def test_r2_arguments_that_cannot_be_unpickled_are_an_error_that_says_so(run: Run) -> None:
    outcome = run("def f(_): pass", _Unloadable())
    assert outcome.status is OutcomeStatus.ERROR
    assert "arguments could not be unpickled in the worker: LookupError: not here" in str(outcome.error)
    assert outcome.metrics is not None
