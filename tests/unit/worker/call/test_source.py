"""R100, R101: the text of a program, and its file."""

from __future__ import annotations

import ast
import importlib.util
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, strategies as st

from gigaexec.worker.call.source import lines_of, normalized, provide_file


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\n", "x = 1\n"),
        ("\ufeffx = 1", "x = 1"),
        ("\ufeff\ufeffx", "\ufeffx"),
        ("    x = 1\n    y = 2\n", "x = 1\ny = 2\n"),
        ("\n# note\n\tdef f():\n\t\treturn 1\n", "\n# note\ndef f():\n\treturn 1\n"),
        ('  x = """a\n    b\nc"""\n', 'x = """a\n    b\nc"""\n'),
        ('  x = f"""{1}\n    b"""\n  y = 1\n', 'x = f"""{1}\n    b"""\ny = 1\n'),
        ("  x = 'a\\\n  b'\n", "x = 'a\\\n  b'\n"),
        ("  x = (1,\n 2)\n# end\n", "x = (1,\n2)\n# end\n"),
        ("  x = 1\ny = 2\n", "  x = 1\ny = 2\n"),
        ("  def f(:\n", "  def f(:\n"),
        ("  x = 1\r\n  y = 2\r\n", "x = 1\ny = 2\n"),
        ("", ""),
        ("  ", "  "),
    ],
)
def test_r101_a_mark_and_a_shared_indentation_are_removed(code: str, expected: str) -> None:
    assert normalized(code) == expected


@given(st.text(alphabet="ab\n\x1c\x85\u2028 =1#'", max_size=30), st.sampled_from(["  ", "\t"]))
def test_r101_an_indented_text_means_the_same_as_the_text(text: str, indentation: str) -> None:
    string = '"""' + text + '"""'
    statements = "if 1:\n    x = 1\ndef f():\n    return (1,\n 2)\n"
    plain = f"{statements}y = {string}\nz = 1\n"
    indented = f"{textwrap.indent(statements, indentation)}{indentation}y = {string}\n{indentation}z = 1\n"
    assert ast.dump(ast.parse(normalized(indented))) == ast.dump(ast.parse(plain))
    assert normalized(plain) == plain


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"])
def test_r101_lines_are_those_of_the_tokenizer(separator: str) -> None:
    code = f"a = 1\n{separator}b = 2\r\nc = 3\rd = 4"
    assert lines_of(code) == ["a = 1\n", f"{separator}b = 2\n", "c = 3\n", "d = 4"]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("user_code", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_r100_the_file_of_a_text_is_the_text(tmp_path: Path) -> None:
    code = "# caf\u00e9\nx = 1\r\n"
    place = provide_file(code, f"{tmp_path}/programs/1", None)
    assert Path(place).read_bytes() == code.encode()
    assert [each.name for each in Path(place).parent.iterdir()] == ["user_code.py"]
    assert provide_file(code, f"{tmp_path}/programs/1", None) == place


def test_r100_a_declared_encoding_does_not_change_the_meaning_of_the_file(tmp_path: Path) -> None:
    place = provide_file("# -*- coding: latin-1 -*-\nx = '\u00e9'", str(tmp_path), None)
    assert load(Path(place)).x == "\u00e9"


def test_r100_a_program_from_a_file_is_importable_under_the_name_of_its_file(tmp_path: Path) -> None:
    code = "x = '\u00e9'\ndef f(): return __file__, f.__code__.co_filename\n"
    assert provide_file(code, str(tmp_path), "/data/it's.py") == "/data/it's.py"
    module = load(tmp_path / "user_code.py")
    assert (module.x, module.f()) == ("\u00e9", ("/data/it's.py",) * 2)


def test_a_text_that_cannot_be_encoded_has_no_file(tmp_path: Path) -> None:
    assert provide_file("x = '\ud800'", str(tmp_path), None) == f"{tmp_path}/user_code.py"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        provide_file("x = 1", f"{tmp_path}/file/1", None)
