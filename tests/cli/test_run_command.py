"""`gigaexec run`: values, failures, JSON and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand

_PROGRAM = """
import os, shutil, sys
import helper_beside

def square(x, plus=0):
    return x * x + plus

def chat():
    print("to out \\x1b[31m")
    print("to err", file=sys.stderr)
    return {1: 2}

def fail():
    print("last words")
    raise ValueError("bad \\x1b[2J\\u202e thing")

def spin():
    while True:
        pass

def lose_the_disk():
    shutil.rmtree("SPILL_DIR")
    return b"x" * 10_000_000

def text():
    return "имя \\x1b \\u202e"

def who():
    return helper_beside.NAME

class Rude:
    def __repr__(self):
        print("runs in the driver")
        raise KeyboardInterrupt

class Endless:
    def __repr__(self):
        while True:
            pass

def rude():
    return [1, Rude(), {"deep": (Endless(),)}]

def huge():
    return 10 ** 5000

"""


@pytest.fixture
def program(tmp_path: Path, spill_dir: Path) -> Path:
    (tmp_path / "helper_beside.py").write_text("NAME = 'beside'\n")
    path = tmp_path / "program.py"
    path.write_text(_PROGRAM.replace("SPILL_DIR", str(spill_dir)))
    return path


def test_value_is_printed_as_json(gigaexec_command: RunCommand, program: Path) -> None:
    done = gigaexec_command(
        "run", program, "--function", "square", "--args", "[12]", "--kwargs", '{"plus": 1}'
    )
    assert (done.stdout, done.stderr, done.returncode) == ("145\n", "", 0)


def test_value_that_json_cannot_hold_is_printed_as_repr(gigaexec_command: RunCommand, program: Path) -> None:
    assert gigaexec_command("run", program, "-f", "chat").stdout == "{1: 2}\n"


@pytest.mark.parametrize("option", [None, "--json"])
def test_r33_no_code_of_a_value_is_run_to_show_it(
    gigaexec_command: RunCommand, program: Path, option: str | None
) -> None:
    done = gigaexec_command("run", program, "-f", "rude", *([option] if option else []))
    shown = json.loads(done.stdout)["value_repr"] if option else done.stdout.rstrip("\n")
    assert (shown, done.stderr, done.returncode) == (
        "[1, <Rude object>, {'deep': (<Endless object>,)}]",
        "",
        0,
    )


@pytest.mark.parametrize("option", [None, "--json"])
def test_integer_too_long_to_be_written_is_described(
    gigaexec_command: RunCommand, program: Path, option: str | None
) -> None:
    done = gigaexec_command("run", program, "-f", "huge", *([option] if option else []))
    assert "<int of 16610 bits>" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_r6_output_of_the_program_is_shown_marked_on_stderr(
    gigaexec_command: RunCommand, program: Path
) -> None:
    done = gigaexec_command("run", program, "-f", "chat")
    assert "captured output: stdout" in done.stderr
    assert "captured output: stderr" in done.stderr
    assert "to err" in done.stderr
    assert "to out" not in done.stdout


def test_program_on_standard_input(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command("run", "-", "-f", "f", stdin="def f(): return [1, None]\n")
    assert (done.stdout, done.returncode) == ("[1, null]\n", 0)


def test_r3_folder_of_the_file_comes_after_the_given_folders(
    gigaexec_command: RunCommand, program: Path, tmp_path: Path
) -> None:
    assert gigaexec_command("run", program, "-f", "who").stdout == '"beside"\n'
    given = tmp_path / "given"
    given.mkdir()
    (given / "helper_beside.py").write_text("NAME = 'given'\n")
    assert gigaexec_command("run", program, "-f", "who", "--python-path", given).stdout == '"given"\n'


def test_r7_failure_is_shown_with_code_context_and_status_1(
    gigaexec_command: RunCommand, program: Path
) -> None:
    done = gigaexec_command("run", program, "-f", "fail")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("error: ValueError: bad")
    assert ">" in done.stderr
    assert "last words" in done.stderr
    assert done.stderr.count("last words") == 2  # once in the code context, once as captured output


def test_r10_nothing_a_program_says_reaches_the_terminal_raw(
    gigaexec_command: RunCommand, program: Path
) -> None:
    for function in ("fail", "chat", "text"):
        done = gigaexec_command("run", program, "-f", function)
        assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr), function
    assert json.loads(gigaexec_command("run", program, "-f", "text").stdout) == "имя \x1b \u202e"


def test_r34_timeout_has_status_1(gigaexec_command: RunCommand, program: Path) -> None:
    done = gigaexec_command("run", program, "-f", "spin", "--timeout", "0.5")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("timed out after 0.5 s\n")


def test_json_holds_the_whole_outcome(gigaexec_command: RunCommand, program: Path) -> None:
    good = json.loads(gigaexec_command("run", program, "-f", "square", "--args", "[3]", "--json").stdout)
    assert (good["status"], good["value"], good["error"]) == ("ok", 9, None)
    assert good["metrics"]["wall_time_s"] > 0
    assert good["run_time_s"] > 0
    done = gigaexec_command("run", program, "-f", "fail", "--json")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    bad = json.loads(done.stdout)
    assert (bad["status"], bad["error"]["type"]) == ("error", "ExecRunnerError")
    assert "Traceback" in bad["error"]["stderr"]
    assert bad["output"]["stdout"] == "last words\n"
    assert (
        json.loads(gigaexec_command("run", program, "-f", "chat", "--json").stdout)["value_repr"] == "{1: 2}"
    )


def test_infrastructure_failure_has_status_3(gigaexec_command: RunCommand, program: Path) -> None:
    done = gigaexec_command("run", program, "-f", "lose_the_disk")
    assert (done.stdout, done.returncode) == ("", 3)
    assert "\ninfrastructure: " in f"\n{done.stderr}"  # a warning about the spill directory may precede it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "square", "--args", "12"], "--args"),
        (
            ["-f", "square", "--args", "["],
            "not valid JSON (value expected at column 2); give an array such as [1, 2]",
        ),
        (["-f", "square", "--kwargs", "[]"], "JSON object"),
        (["-f", "square", "--timeout", "nan"], "above 0"),
        (["-f", "square", "--timeout", "-1"], "above 0"),
        (["-f", "square", "--python-path", "/does/not/exist"], "/does/not/exist"),
        (["-f", ""], "function_name is empty"),
        (["-f", "square", "--backend", "http://u:p@h"], "known backends: forkserver, loky, auto"),
        ([], "--function"),
    ],
)
def test_wrong_use_has_status_2_and_no_traceback(
    gigaexec_command: RunCommand, program: Path, arguments: list[str], said: str
) -> None:
    done = gigaexec_command("run", program, *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_file_that_is_no_program_has_status_2(
    gigaexec_command: RunCommand, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "broken.py"
    if content is not None:
        path.write_bytes(content)
    done = gigaexec_command("run", path, "-f", "f")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "broken.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_r21_spill_directory_open_to_others_has_status_2(
    gigaexec_command: RunCommand, program: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    done = gigaexec_command(
        "run",
        program,
        "-f",
        "square",
        "--args",
        "[1]",
        environment={"GIGAEVO_EXECUTOR_SPILL_DIR": str(folder)},
    )
    assert (done.stdout, done.returncode) == ("", 2)
    assert "chmod 700" in done.stderr


def test_r70_unreadable_setting_is_told_on_stderr(gigaexec_command: RunCommand, program: Path) -> None:
    done = gigaexec_command(
        "run",
        program,
        "-f",
        "square",
        "--args",
        "[1]",
        environment={"GIGAEVO_EXECUTOR_IDLE_TIMEOUT_S": "soon"},
    )
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert "warning: GIGAEVO_EXECUTOR_IDLE_TIMEOUT_S" in done.stderr
