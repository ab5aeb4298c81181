"""R52: the command line of a new interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gigaexec.pool.starters.interpreter import interpreter_command


def test_the_code_finds_its_arguments_and_the_folders_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable = "no\0path"
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path, unusable])
    code = "import json; print(json.dumps([sys.argv[1:], sys.path]))"
    done = subprocess.run(interpreter_command(code, "a b", 7), stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == [["a b", "7"], sys.path[:-1]]


def test_r103_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the current folder')")
    done = subprocess.run(interpreter_command("import json"), cwd=tmp_path, check=False)
    assert done.returncode == 0
