"""R2, R106: finding the function of a program, and calling it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gigaexec.worker.call.function import ProgramError, call_function, find_function, kind_of_generator
from gigaexec.worker.call.program import load_program, unload_program


@pytest.fixture(autouse=True)
def unloaded_after() -> Iterator[None]:
    yield
    unload_program()


def call(code: str, name: str, *args: Any) -> Any:
    return call_function(find_function(load_program(code), name), list(args), {})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "the program defines no function 'f'; it defines no functions; is it a script?"),
        ("def g(): ...\nclass H: ...", "the program defines no function 'f'; it defines: g, H"),
        ("f = 3", "expected 'f' of the program to be a function, got type int"),
        ("import os", "the program defines no function 'f'; it defines no functions; is it a script?"),
    ],
)
def test_r2_the_error_of_a_missing_function_lists_the_defined_names(code: str, message: str) -> None:
    with pytest.raises(ProgramError) as refusal:
        find_function(load_program(code), "f")
    assert str(refusal.value) == message


def test_r2_builtins_are_not_functions_of_the_program() -> None:
    with pytest.raises(ProgramError, match="defines no function 'print'"):
        find_function(load_program("x = 1"), "print")


def test_r2_anything_callable_may_be_called() -> None:
    code = "import functools\ng = functools.partial(int, '2')\nclass A:\n    def __call__(self): return 1\n"
    code += "f = A()"
    module = load_program(code)
    assert [find_function(module, name)() for name in ("f", "g")] == [1, 2]


CLASSES = """
class Solution:
    made = 0
    def __init__(self, start=10): Solution.made += 1; self.start = start
    def solve(self, x): return self.start + x
    @staticmethod
    def static(x): return x, Solution.made
    @classmethod
    def of_class(cls, x): return cls.__name__, x, cls.made
    async def later(self, x): return self.solve(x)
    class Inner:
        def solve(self, x): return -x
    value = 3
solution = Solution(20)
"""


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("Solution.solve", 11),
        ("Solution.static", (1, 1)),
        ("Solution.of_class", ("Solution", 1, 1)),
        ("Solution.later", 11),
        ("Solution.Inner.solve", -1),
        ("solution.solve", 21),
    ],
)
def test_r106_a_dotted_name_is_a_method_of_a_new_instance(name: str, result: Any) -> None:
    assert call(CLASSES, name, 1) == result


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (
            CLASSES,
            "Solution.slove",
            "'Solution.slove' does not exist: the class Solution has no 'slove'",
        ),
        (CLASSES, "Missing.solve", "the program defines no function 'Missing'; it defines: Solution"),
        (CLASSES, "solution.slove", "the object of type Solution has no 'slove'"),
        (
            CLASSES,
            "Solution.value",
            "expected 'Solution.value' of the program to be a function",
        ),
        (CLASSES, "Solution.", "'Solution.' does not exist"),
        (
            "class A:\n    def __init__(self, n): pass\n    def f(self): pass",
            "A.f",
            r"class 'A' cannot be created without arguments \(missing a required argument: 'n'\)",
        ),
    ],
)
def test_r106_a_name_that_cannot_be_called_is_an_error_that_says_why(
    code: str, name: str, message: str
) -> None:
    with pytest.raises(ProgramError, match=message):
        call(code, name)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("def f(): yield 1", "a generator"),
        ("async def f(): yield 1", "an async generator"),
        ("async def f(): return (x for x in ())", "a generator"),
        ("def f(): return [1]", ""),
    ],
)
def test_r106_a_generator_is_recognized(code: str, kind: str) -> None:
    assert kind_of_generator(call(code, "f")) == kind


def test_r106_an_error_in_a_constructor_is_the_program_s() -> None:
    with pytest.raises(TypeError, match="own"):
        call("class A:\n    def __init__(self): raise TypeError('own')\n    def f(self): pass", "A.f")


def test_r106_an_async_function_runs_to_its_end() -> None:
    code = "import asyncio\nasync def g(x):\n    await asyncio.sleep(0)\n    return x\n"
    code += "async def f(x): return sum(await asyncio.gather(g(x), g(2)))"
    assert call(code, "f", 1) == 3


def test_r106_the_repr_of_the_value_of_an_async_function_is_not_called() -> None:
    code = "class V:\n    def __repr__(self): raise SystemExit\nasync def f(): return V()"
    assert type(call(code, "f")).__name__ == "V"
