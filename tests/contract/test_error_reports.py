"""R7, R9, R10: error reports of programs that raise."""

from __future__ import annotations

import pickle
import textwrap

import pytest

from gigaexec import ExecRunnerError, OutcomeStatus
from tests.contract.conftest import Run


def _failure(run: Run, code: str, **options: object) -> ExecRunnerError:
    outcome = run(textwrap.dedent(code).lstrip(), **options)
    assert outcome.status is OutcomeStatus.ERROR, outcome
    assert type(outcome.error) is ExecRunnerError
    assert outcome.metrics is not None
    return outcome.error


def test_r7_the_traceback_is_full_and_shows_the_user_s_lines_only(run: Run) -> None:
    error = _failure(
        run,
        """
        def inner(x):
            return x / 0

        def f():
            return inner(1)
        """,
    )
    assert error.summary == "ZeroDivisionError: division by zero"
    assert error.stderr.startswith("Traceback (most recent call last):\n")
    assert 'user_code.py", line 5, in f\n    return inner(1)\n' in error.stderr
    assert 'user_code.py", line 2, in inner\n    return x / 0\n' in error.stderr
    assert "gigaexec" not in error.stderr
    assert error.stderr in str(error)


def test_r7_an_exception_during_the_encoding_of_the_value_shows_no_frame_of_the_engine(run: Run) -> None:
    outcome = run(
        "class Value:\n    def __reduce__(self): raise LookupError('in __reduce__')\ndef f(): return Value()"
    )
    assert isinstance(outcome.error, ExecRunnerError)
    assert "LookupError: in __reduce__" in outcome.error.stderr
    assert "/gigaexec/" not in outcome.error.stderr


class _Refuses:
    """A value that can be pickled and not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1 / 0",)


def test_r7_an_argument_that_cannot_be_unpickled_shows_no_frame_of_the_engine(run: Run) -> None:
    outcome = run("def f(x): return x", _Refuses())
    assert "ZeroDivisionError" in str(outcome.error)
    assert "/gigaexec/" not in str(outcome.error)


def test_r7_the_code_context_marks_the_failing_line_with_three_around(run: Run) -> None:
    lines = [f"x{number} = {number}" for number in range(1, 21)]
    lines[9] = "x10 = undefined"
    error = _failure(run, "\n".join(lines) + "\ndef f(): pass")
    context = error.stderr.partition("Code context (user_code.py, line 10):\n")[2]
    assert context.splitlines() == [
        "   7 | x7 = 7",
        "   8 | x8 = 8",
        "   9 | x9 = 9",
        "> 10 | x10 = undefined",
        "  11 | x11 = 11",
        "  12 | x12 = 12",
        "  13 | x13 = 13",
    ]


def test_r7_the_code_context_shows_the_last_user_line_if_a_library_raised(run: Run) -> None:
    error = _failure(run, "import json\n\ndef f():\n    return json.loads('{')")
    assert "json/decoder.py" in error.stderr
    assert "> 4 |     return json.loads('{')" in error.stderr


def test_r7_a_syntax_error_shows_file_line_source_and_caret(run: Run) -> None:
    error = _failure(run, "def f():\n    return 1 +* 2\n")
    assert error.summary == "SyntaxError: invalid syntax (user_code.py, line 2)"
    lines = error.stderr.splitlines()
    (start,) = [index for index, line in enumerate(lines) if line.endswith('user_code.py", line 2')]
    assert lines[start + 1] == "    return 1 +* 2"
    assert lines[start + 2].index("^") == lines[start + 1].index("*")
    assert "> 2 |     return 1 +* 2" in error.stderr


@pytest.mark.parametrize(
    ("code", "expected_text"),
    [
        ("def f():\nreturn 1", "IndentationError"),
        ("def f():\n\tif 1:\n        return 1", "TabError"),
        ("def f(): return '\0'", "null bytes"),
        ("# coding: latin-1\ndef f(): return 'ü'\nraise LookupError", "LookupError"),
        ("def f(): return '\ud800'", "UnicodeEncodeError"),
        ("def f(): return " + "(" * 300 + ")" * 300, "too many nested parentheses"),
        ("def f(): return " + "-" * 100_000 + "1", "Error"),
    ],
    ids=["indentation", "tabs", "NUL", "coding", "surrogate", "parentheses", "depth"],
)
def test_r7_source_that_cannot_be_compiled_is_the_call_s_error(
    run: Run, code: str, expected_text: str
) -> None:
    assert expected_text in str(_failure(run, code))


@pytest.mark.parametrize(
    ("statement", "returncode"),
    [
        ("sys.exit()", 1),
        ("sys.exit(0)", 1),
        ("sys.exit(42)", 42),
        ("sys.exit('bye')", 1),
        ("sys.exit(True)", 1),
        ("exit(2)", 2),
        ("raise SystemExit(-1)", -1),
        ("raise KeyboardInterrupt", 1),
        ("raise GeneratorExit", 1),
        ("raise BaseException('odd')", 1),
    ],
)
def test_r7_an_exit_is_an_error_of_the_call(run: Run, statement: str, returncode: int) -> None:
    error = _failure(run, f"import sys\ndef f():\n    {statement}")
    assert error.returncode == returncode
    assert f"> 3 |     {statement}" in error.stderr


def test_r7_an_exit_at_module_level_is_an_error_of_the_call(run: Run) -> None:
    assert _failure(run, "raise SystemExit(5)").returncode == 5


_ODD_EXCEPTIONS = """
class Needs(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")
class Wrong(Exception):
    def __str__(self): return 3
class Exiting(Exception):
    def __str__(self): raise SystemExit(1)
class Unpicklable(Exception):
    def __init__(self): self.lock = __import__("threading").Lock()
class Sly(Exception):
    @property
    def __class__(self): raise ValueError
    __traceback__ = property(lambda self: 1 / 0)
class Meta(type):
    def __getattribute__(cls, name): raise OSError(name)
class Metaclassed(Exception, metaclass=Meta): pass
"""


@pytest.mark.parametrize(
    ("raised", "expected_text"),
    [
        ("Needs(1, 2)", "Needs: 1 and 2"),
        ("Mute()", "Mute"),
        ("Wrong()", "Wrong"),
        ("Exiting()", "Exiting"),
        ("Unpicklable()", "Unpicklable"),
        ("Sly()", "Sly"),
        ("Metaclassed()", "Metaclassed"),
    ],
)
def test_r7_unusual_exception_classes_are_reported(run: Run, raised: str, expected_text: str) -> None:
    error = _failure(run, f"{_ODD_EXCEPTIONS}\ndef f(): raise {raised}")
    assert expected_text in error.summary
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert run("def f(): return 1").value == 1


def test_r7_a_huge_message_is_cut_with_a_note(run: Run) -> None:
    error = _failure(run, "def f(): raise ValueError('<' + 'x' * 30_000_000 + '>')")
    assert len(str(error)) < 300_000
    assert "characters left out" in error.stderr
    assert len(error.summary) < 1_000


def test_r7_groups_causes_and_notes_are_shown(run: Run) -> None:
    error = _failure(
        run,
        """
        def f():
            try:
                raise KeyError("first")
            except KeyError as cause:
                group = ExceptionGroup("many", [ValueError("one"), ExceptionGroup("sub", [TypeError("two")])])
                group.add_note("a note")
                raise group from cause
        """,
    )
    for text in (
        "KeyError: 'first'",
        "direct cause",
        "ExceptionGroup: many",
        "ValueError: one",
        "TypeError: two",
    ):
        assert text in error.stderr
    assert "a note" in error.stderr


def test_r7_the_traceback_of_endless_recursion_is_short(run: Run) -> None:
    error = _failure(run, "def f(): return f()")
    assert error.summary.startswith("RecursionError: maximum recursion depth exceeded")
    assert "Previous line repeated" in error.stderr
    assert len(error.stderr) < 5_000


def test_r7_an_exception_that_is_its_own_cause_is_reported(run: Run) -> None:
    error = _failure(
        run, "def f():\n    e = ValueError('loop'); e.__cause__ = e; e.__context__ = e\n    raise e"
    )
    assert error.summary == "ValueError: loop"


def test_r9_a_memory_error_of_the_program_is_an_ordinary_error(run: Run) -> None:
    for raised in ("raise MemoryError('not really')", "bytearray(1 << 62)"):
        assert _failure(run, f"def f(): {raised}").summary.startswith("MemoryError")


def test_r9_texts_that_look_like_causes_do_not_change_the_status(run: Run) -> None:
    for text in ("Killed", "TimeoutError: timed out", "out of memory", "Segmentation fault", "No space left"):
        assert run(f"def f(): raise RuntimeError({text!r})").status is OutcomeStatus.ERROR
    assert run("def f(): raise TimeoutError('mine')").status is OutcomeStatus.ERROR


def test_r10_the_error_keeps_the_program_s_text_unchanged(run: Run) -> None:
    odd = "\x1b[31m\0\u202e\ud800"
    error = _failure(run, f"def f(): raise ValueError({odd!r})")
    assert odd in error.summary


def test_r7_a_failing_helper_shows_its_own_lines_and_the_program_s(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("helper")
    (folder / "helper.py").write_text("def fail():\n    raise LookupError('in the helper')\n")
    error = _failure(run, "import helper\ndef f():\n    helper.fail()", python_path=[str(folder)])
    assert "raise LookupError('in the helper')" in error.stderr
    assert "> 3 |     helper.fail()" in error.stderr
