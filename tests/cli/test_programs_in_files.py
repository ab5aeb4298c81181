"""R100: on the command line, programs and files of a problem keep the paths of their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand

_DATA_BESIDE_ME = "from pathlib import Path\nDATA = float((Path(__file__).parent / 'data.txt').read_text())\n"


@pytest.mark.parametrize("options", [[], ["--backend", "loky"], ["--sandbox", "standard"]], ids=str)
def test_r100_a_validator_and_a_program_read_data_beside_themselves(
    gigaexec_command: RunCommand, problem: Path, options: list[str]
) -> None:
    (problem / "data.txt").write_text("2")
    validate = f"{_DATA_BESIDE_ME}def validate(payload): return {{'total': DATA + payload, 'longest': 1.0}}\n"
    (problem / "validate.py").write_text(validate)
    program = problem / "initial_programs" / "best.py"
    program.with_name("data.txt").write_text("1")
    program.with_name("helper.py").write_text("ONE = 1\n")
    program.write_text(f"import helper\n{_DATA_BESIDE_ME}def entrypoint(): return DATA + helper.ONE\n")
    done = gigaexec_command("evaluate", problem, program, "--json", *options)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["metrics"] is not None, row
    assert row["metrics"]["total"] == 4.0


def test_r100_run_keeps_the_path_of_the_file(gigaexec_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("def f(): return __file__\ndef g(): return 1 / 0\n")
    done = gigaexec_command("run", path, "-f", "f")
    assert json.loads(done.stdout) == str(path)
    done = gigaexec_command("run", path, "-f", "g")
    assert f'File "{path}", line 2, in g' in done.stderr
    assert "Code context (one.py, line 2)" in done.stderr
