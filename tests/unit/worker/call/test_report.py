"""R7: an exception of user code as text."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gigaexec.calls import ErrorKind, WorkerError
from gigaexec.worker.call import report
from gigaexec.worker.call.function import ProgramError, find_function
from gigaexec.worker.call.program import load_program, unload_program
from gigaexec.worker.call.report import MAX_REPORT_CHARACTERS, MAX_SUMMARY_CHARACTERS, describe_exception


@pytest.fixture(autouse=True)
def unloaded_after() -> Iterator[None]:
    yield
    unload_program()


def report_of(code: str) -> WorkerError:
    """Call `f` of the code and return the report of its exception."""
    with pytest.raises(BaseException) as raised:
        find_function(load_program(code), "f")()
    assert raised.value.__traceback__ is not None
    # Drop this function's frame: in a worker, only frames of the engine precede those of the program.
    return describe_exception(raised.value.with_traceback(raised.value.__traceback__.tb_next))


def test_r7_traceback_then_three_lines_on_each_side_of_the_failing_one() -> None:
    code = "\n".join([*(f"a{number} = {number}" for number in range(1, 6)), "def f():", "    b = 1"])
    code += "\n    return b / 0\n    c = 1\n    d = 2\n    e = 3\n    g = 4\n"
    report = report_of(code)
    assert report.summary == "ZeroDivisionError: division by zero"
    assert report.returncode == 1
    assert report.stderr.startswith(
        'Traceback (most recent call last):\n  File "user_code.py", line 8, in f\n    return b / 0\n'
    )
    context = report.stderr.partition("ZeroDivisionError: division by zero\n")[2]
    assert context == (
        "\nCode context (user_code.py, line 8):\n"
        "   5 | a5 = 5\n"
        "   6 | def f():\n"
        "   7 |     b = 1\n"
        ">  8 |     return b / 0\n"
        "   9 |     c = 1\n"
        "  10 |     d = 2\n"
        "  11 |     e = 3\n"
    )


def test_r7_context_ends_at_the_first_and_last_line_of_the_code() -> None:
    report = report_of("1 / 0")
    assert report.stderr.endswith("\nCode context (user_code.py, line 1):\n> 1 | 1 / 0\n")


def test_r7_the_marked_line_is_the_innermost_line_of_the_program() -> None:
    code = "import json\ndef f():\n    return g()\ndef g():\n    return json.loads('{')\n"
    report = report_of(code)
    assert "Code context (user_code.py, line 5)" in report.stderr
    assert "decoder.py" in report.stderr, "expected frames of the standard library in the traceback"


def test_r7_the_engines_own_frames_are_left_out() -> None:
    for code in ("def f(): raise ValueError('x')", "raise ValueError('x')", "def f(:"):
        assert "gigaexec" not in report_of(code).stderr


def test_r7_a_syntax_error_shows_file_line_source_and_caret() -> None:
    report = report_of("x = 1\ndef f(:\n    pass\n")
    assert 'File "user_code.py", line 2\n    def f(:\n' in report.stderr
    assert "^" in report.stderr
    assert "> 2 | def f(:" in report.stderr
    assert report.summary.startswith("SyntaxError: ")
    assert report.summary.endswith("(user_code.py, line 2)")


def test_r7_a_null_byte_in_the_code_is_named() -> None:
    assert "null bytes" in report_of("x = '\0'").summary


def test_r7_chained_and_grouped_exceptions_are_shown_whole() -> None:
    chained = report_of(
        "def f():\n    try:\n        {}['a']\n    except KeyError as e:\n        raise OSError(1) from e"
    )
    assert "KeyError: 'a'" in chained.stderr
    assert "direct cause" in chained.stderr
    grouped = report_of("def f(): raise ExceptionGroup('two', [ValueError('one'), KeyError('other')])")
    assert "ValueError: one" in grouped.stderr
    assert "KeyError: 'other'" in grouped.stderr


@pytest.mark.parametrize(
    ("argument", "returncode"), [("3", 3), ("0", 1), ("", 1), ("None", 1), ("'stopped'", 1), ("True", 1)]
)
def test_r7_an_exit_is_a_failure_with_its_status(argument: str, returncode: int) -> None:
    report = report_of(f"import sys\ndef f(): sys.exit({argument})")
    assert report.returncode == returncode
    assert report.summary.startswith("SystemExit")


def test_r2_a_missing_function_is_reported_without_a_traceback() -> None:
    report = report_of("g = 1")
    assert report.stderr == "the program defines no function 'f'; it defines no functions; is it a script?\n"
    assert report.summary == "the program defines no function 'f'; it defines no functions; is it a script?"


@pytest.mark.parametrize(
    "code",
    [
        "class E(Exception):\n    def __str__(self): raise RuntimeError\ndef f(): raise E",
        "class E(Exception):\n    def __str__(self): raise SystemExit(7)\ndef f(): raise E",
        "class E(Exception):\n    __str__ = None\ndef f(): raise E",
        "class E(Exception):\n    def __str__(self): return 3\ndef f(): raise E",
        "class E(Exception):\n    def __init__(self, a, b): self.a = a\ndef f(): raise E(1, 2)",
        "class E(Exception):\n    @property\n    def __notes__(self): raise RuntimeError\ndef f(): raise E",
        "class M(type):\n    __name__ = property(lambda self: 1 / 0)\n"
        "class E(Exception, metaclass=M): pass\ndef f(): raise E",
        "class E(SyntaxError):\n    @property\n    def lineno(self): return 'x'\ndef f(): raise E('odd')",
        "def f():\n    e = SyntaxError('odd')\n    e.filename, e.lineno = 'user_code.py', 99\n    raise e",
        "def f():\n    e = SyntaxError('odd')\n    e.filename, e.lineno = 'user_code.py', 'x'\n    raise e",
    ],
)
def test_r7_a_hostile_exception_is_reported(code: str) -> None:
    report = report_of(code)
    assert report.stderr
    assert report.summary
    assert report.kind is ErrorKind.USER
    assert pickle.loads(pickle.dumps(report)) == report


def test_r7_a_huge_message_is_cut_in_the_middle_and_the_cut_is_marked() -> None:
    report = report_of("def f(): raise ValueError('start' + 'x' * 3_000_000 + 'end')")
    assert MAX_REPORT_CHARACTERS * 0.9 < len(report.stderr) <= MAX_REPORT_CHARACTERS
    assert "characters left out" in report.stderr
    assert "start" in report.stderr
    assert len(report.summary) <= MAX_SUMMARY_CHARACTERS


def test_r7_deep_recursion_is_reported() -> None:
    report = report_of("def f(): return f()")
    assert report.summary.startswith("RecursionError")
    assert "more times" in report.stderr


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_r7_any_message_gives_a_one_line_summary_that_can_be_sent(message: str) -> None:
    report = describe_exception(ValueError(message))
    assert len(report.summary.splitlines()) == 1
    assert report.summary.startswith("ValueError")
    assert pickle.loads(pickle.dumps(report)) == report


def test_the_report_has_the_given_kind() -> None:
    assert describe_exception(ProgramError("no"), ErrorKind.ARGUMENTS).kind is ErrorKind.ARGUMENTS


def test_r7_frames_of_a_package_whose_name_starts_with_gigaexec_are_shown() -> None:
    folder = Path(report.__file__).parents[3]
    namespace: dict[str, Any] = {}
    for name, body in (("gigaexec_tools", "1 / 0"), ("gigaexec", "outer()")):
        code = f"def {'outer' if body == '1 / 0' else 'f'}():\n    {body}\n"
        exec(compile(code, f"{folder}/{name}/part.py", "exec"), namespace)
    with pytest.raises(ZeroDivisionError) as raised:
        namespace["f"]()
    assert raised.value.__traceback__ is not None
    shown = describe_exception(raised.value.with_traceback(raised.value.__traceback__.tb_next)).stderr
    assert "/gigaexec_tools/part.py" in shown
    assert "/gigaexec/part.py" not in shown
