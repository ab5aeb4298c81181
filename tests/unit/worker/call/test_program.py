"""R1, R2: loading a program from a code string."""

from __future__ import annotations

import dataclasses
import gc
import linecache
import sys
import traceback
import weakref
from collections.abc import Iterator

import cloudpickle
import pytest

from gigaexec.worker.call import program
from gigaexec.worker.call.function import find_function
from gigaexec.worker.call.program import load_program, unload_program


@pytest.fixture(autouse=True)
def unloaded_after() -> Iterator[None]:
    yield
    unload_program()


def test_r1_the_code_becomes_the_module_user_code() -> None:
    module = load_program("NAME, FILE = __name__, __file__")
    assert (module.NAME, module.FILE) == ("user_code", "user_code.py")
    assert sys.modules["user_code"] is module


def test_r1_the_module_is_registered_while_its_top_level_runs() -> None:
    code = "from __future__ import annotations\nimport dataclasses as d\n@d.dataclass\nclass A:\n    x: int"
    assert dataclasses.is_dataclass(load_program(code).A)


def test_r1_tracebacks_show_the_users_own_lines() -> None:
    module = load_program("def f():\n    return 1 / 0  # here\n")
    with pytest.raises(ZeroDivisionError) as raised:
        find_function(module, "f")()
    linecache.checkcache()
    shown = "".join(traceback.format_exception(raised.value))
    assert 'File "user_code.py", line 2, in f\n    return 1 / 0  # here' in shown


def test_r1_the_engines_future_imports_are_not_the_programs() -> None:
    assert load_program("def f(x: int): ...").f.__annotations__ == {"x": int}


def test_unloading_removes_all_traces_of_the_program() -> None:
    module = load_program("class Big: pass\nbig = Big()\ndef f(): return big\n")
    big = weakref.ref(module.big)
    gc.disable()
    try:
        unload_program()
        assert big() is None, "the value must be freed without the garbage collector"
    finally:
        gc.enable()
    assert "user_code" not in sys.modules
    assert "user_code" not in cloudpickle.list_registry_pickle_by_value()
    assert "user_code.py" not in linecache.cache
    unload_program()


def test_a_program_that_fails_at_its_top_level_is_unloaded() -> None:
    with pytest.raises(ZeroDivisionError):
        load_program("1 / 0")
    unload_program()
    assert "user_code" not in sys.modules


def test_a_program_that_removes_its_own_module_is_unloaded() -> None:
    load_program("import sys; del sys.modules['user_code']")
    unload_program()


def test_a_program_is_compiled_once_and_its_top_level_runs_for_each_call() -> None:
    code = "calls = []\ndef f():\n    calls.append(1)\n    return len(calls)\n"
    assert [find_function(load_program(code), "f")() for _ in range(3)] == [1, 1, 1]


def test_the_cache_of_compiled_programs_drops_the_least_recently_used() -> None:
    kept = program._COMPILED_PROGRAMS_KEPT
    often = "often = 1"
    for number in range(2 * kept):
        load_program(f"number = {number}")
        load_program(often)
    assert len(program._compiled) <= kept
    assert (often, "user_code.py") in program._compiled
