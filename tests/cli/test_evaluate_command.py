"""`gigaexec evaluate`: table, JSON lines, files and exit statuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, PROGRAMS, RunCommand

_LOSES_THE_DISK = """
import shutil

def entrypoint():
    shutil.rmtree("SPILL_DIR")
    return [1.0] * 1_000_000
"""


def test_r84_r85_initial_programs_are_ranked(gigaexec_command: RunCommand, problem: Path) -> None:
    done = gigaexec_command("evaluate", problem)
    assert done.returncode == 0
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["#", "program", "valid", "total", "longest", "wall", "CPU", "peak", "reason"]
    assert [row.split()[:3] for row in rows[:5]] == [
        ["1", "best", "yes"],
        ["2", "good", "yes"],
        ["-", "raises", "no"],
        ["-", "refused", "no"],
        ["-", "syntax", "no"],
    ]
    assert rows[0].split()[3:6] == ["7.00!", "2", "items"]
    assert "validate: TypeError: expected a list, got str" in rows[3]
    assert "SyntaxError: invalid syntax (syntax.py, line 1)" in rows[4]
    assert "best: total 7.0 is above the upper bound 6.0" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("5 programs in ")
    assert done.stderr.endswith(": 2 valid, 3 not valid\n")


def test_files_and_folders_in_place_of_the_initial_programs(
    gigaexec_command: RunCommand, problem: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "candidates"
    folder.mkdir()
    (folder / "best.py").write_text("def entrypoint(): return [1.5]\n")
    (folder / "notes.txt").write_text("no program")
    one = problem / "initial_programs" / "best.py"
    done = gigaexec_command("evaluate", problem, folder, one, one)
    assert done.stderr.startswith("2 programs in ")
    # Programs that share a name are shown with their paths.
    assert "candidates/best.py" in done.stdout
    assert "initial_programs/best.py" in done.stdout


def test_status_1_where_no_program_is_valid(gigaexec_command: RunCommand, problem: Path) -> None:
    done = gigaexec_command("evaluate", problem, problem / "initial_programs" / "raises.py")
    assert done.returncode == 1
    assert "ValueError" in done.stdout


def test_file_that_is_no_text_is_a_failed_program(
    gigaexec_command: RunCommand, problem: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_bytes(b"\xff\xfe\x00")
    done = gigaexec_command("evaluate", problem, broken, problem / "initial_programs" / "good.py")
    assert done.returncode == 0
    assert "not Python source text" in done.stdout


def test_json_lines_hold_metrics_and_sentinels(gigaexec_command: RunCommand, problem: Path) -> None:
    done = gigaexec_command("evaluate", problem, "--json")
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == PROGRAMS.keys()
    assert found["best"]["metrics"] == {"total": 7.0, "longest": 2.0}
    assert list(found["best"]["out_of_bounds"]) == ["total"]
    assert found["raises"]["metrics"] == {"total": -1e5, "longest": -1e5}
    assert (found["raises"]["is_valid"], found["raises"]["failed_stage"]) == (False, "call")
    assert "raise ValueError" in found["raises"]["detail"]
    assert found["good"]["wall_time_s"] > 0


def test_output_folder_gets_a_line_for_each_program(
    gigaexec_command: RunCommand, problem: Path, tmp_path: Path
) -> None:
    results = tmp_path / "runs" / "1" / "results.jsonl"
    done = gigaexec_command("evaluate", problem, "--output", results.parent)
    assert str(results) in done.stderr
    lines = results.read_text().splitlines()
    assert {json.loads(line)["name"] for line in lines} == PROGRAMS.keys()

    refused = gigaexec_command("evaluate", problem, "--output", results.parent)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--overwrite" in refused.stderr
    assert results.read_text().splitlines() == lines

    one = problem / "initial_programs" / "good.py"
    assert (
        gigaexec_command("evaluate", problem, one, "--output", results.parent, "--overwrite").returncode == 0
    )
    assert len(results.read_text().splitlines()) == 1


def test_full_disk_under_the_output_has_status_3(
    gigaexec_command: RunCommand, problem: Path, tmp_path: Path
) -> None:
    results = tmp_path / "out" / "results.jsonl"
    results.parent.mkdir()
    results.symlink_to("/dev/full")
    done = gigaexec_command("evaluate", problem, "--output", results.parent, "--overwrite")
    assert (done.stdout, done.returncode) == ("", 3)
    assert done.stderr == f"gigaexec: {results} cannot be written: No space left on device\n"


def test_start_that_failed_can_be_tried_again(
    gigaexec_command: RunCommand, problem: Path, tmp_path: Path
) -> None:
    one = problem / "initial_programs" / "good.py"
    arguments = ("evaluate", problem, one, "--output", tmp_path / "out")
    context = problem / "context.py"
    context.write_text("def build_context():\n    raise OSError('not mounted yet')\n")
    assert gigaexec_command(*arguments).returncode == 2
    context.unlink()
    assert gigaexec_command(*arguments).returncode == 0


def test_infrastructure_failure_is_listed_apart_and_has_status_3(
    gigaexec_command: RunCommand, problem: Path, spill_dir: Path
) -> None:
    bad = problem / "initial_programs" / "unlucky.py"
    bad.write_text(_LOSES_THE_DISK.replace("SPILL_DIR", str(spill_dir)))
    done = gigaexec_command("evaluate", problem, bad)
    assert done.returncode == 3
    assert "Not evaluated (no verdict on the program):" in done.stdout
    assert done.stderr.endswith(": 0 valid, 0 not valid, 1 not evaluated\n")
    [line] = gigaexec_command("evaluate", problem, bad, "--json").stdout.splitlines()
    assert (json.loads(line)["status"], json.loads(line)["metrics"]) == ("infrastructure", {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such folder: nowhere"),
        (["PROBLEM", "nowhere.py"], "no such file or folder: nowhere.py"),
        (["PROBLEM", "x" * 300], "File name too long"),
        (["PROBLEM", "/dev/null"], "not a pipe, a socket or a device"),
        (["PROBLEM", "PROBLEM/empty"], "no programs (*.py) in FOLDER/empty"),
        (["PROBLEM", "--workers", "0"], "--workers"),
        (["PROBLEM", "--timeout", "soon"], "above 0"),
        (["PROBLEM", "--overwrite"], "--output"),
        (
            ["PROBLEM", "--output", "PROBLEM/validate.py"],
            "cannot create FOLDER/validate.py/results.jsonl: FOLDER/validate.py is a file",
        ),
        ([], "PROBLEM"),
    ],
)
def test_wrong_use_has_status_2_and_no_traceback(
    gigaexec_command: RunCommand, problem: Path, arguments: list[str], said: str
) -> None:
    (problem / "empty").mkdir()
    done = gigaexec_command("evaluate", *(text.replace("PROBLEM", str(problem)) for text in arguments))
    assert (done.stdout, done.returncode) == ("", 2)
    assert said.replace("FOLDER", str(problem)) in done.stderr
    assert "Traceback" not in done.stderr


def test_r84_mistake_in_metrics_names_file_and_key(gigaexec_command: RunCommand, problem: Path) -> None:
    (problem / "metrics.yaml").write_text("specs: {total: {is_primary: true, decimal: 2}}\n")
    done = gigaexec_command("evaluate", problem)
    assert (done.stdout, done.returncode) == ("", 2)
    assert "metrics.yaml" in done.stderr
    assert "did you mean 'decimals'" in done.stderr


def test_context_has_a_time_limit_of_its_own(gigaexec_command: RunCommand, problem: Path) -> None:
    (problem / "context.py").write_text("def build_context():\n    while True: pass\n")
    done = gigaexec_command("evaluate", problem, "--context-timeout", "0.3")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "build_context failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_reader_that_goes_away_ends_the_run_quietly(problem: Path) -> None:
    spinning = problem / "initial_programs" / "spins.py"
    spinning.write_text("def entrypoint():\n    while True: pass\n")
    command = [*COMMAND, "evaluate", str(problem), "--json", "--workers", "1", "--timeout", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        told = running.stderr.read()
    assert running.returncode == 128 + 13
    assert "Traceback" not in told
    assert "of 6 programs were done" in told
