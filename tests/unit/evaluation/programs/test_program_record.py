"""Programs and their source files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import Program, read_source


def test_r80_a_program_has_an_id_of_its_own_and_a_short_one() -> None:
    first, second = Program(code="x = 1"), Program(code="x = 1")
    assert first.id != second.id
    assert len(first.id) == 32
    assert first.id_short == first.id[:8]


def test_a_program_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Program(code="").code = "other"  # type: ignore[misc]


@pytest.mark.parametrize("fields", [{"code": b"x"}, {"code": "", "name": 3}, {"code": "", "id": ""}])
def test_a_program_of_wrong_fields_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(name for name in reversed(fields))):
        Program(**fields)


def test_r84_a_program_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "greedy.py"
    path.write_text("x = 'é'\n", "utf-8")
    program = Program.from_file(path)
    assert (program.name, program.code) == ("greedy", "x = 'é'\n")


def test_source_is_decoded_as_python_does(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_bytes("# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1"))
    assert read_source(path).endswith("x = 'é'\n")
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_source(path) == "x = 1\n"


@pytest.mark.parametrize("content", [b"x = '\xff'\n", b"# coding: no-such-codec\n"])
def test_r81_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "binary.py"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"binary\.py: not Python source text"):
        Program.from_file(path)


def test_r81_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.py: cannot be read: No such file"):
        Program.from_file(tmp_path / "nothing.py")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ConfigurationError, match=r"folder\.py: cannot be read: Is a directory"):
        Program.from_file(tmp_path / "folder.py")
