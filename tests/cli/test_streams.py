"""Standard streams that are closed, full or not UTF-8."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, RunCommand

_PROGRAM = "def f(): return 'имя'\n"


def _in_shell(redirection: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *map(str, arguments)],
        input=_PROGRAM,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def each_command(problem: Path, tmp_path: Path) -> dict[str, list[str]]:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    run = ["run", str(program), "-f", "f"]
    evaluate = ["evaluate", str(problem), str(problem / "initial_programs" / "good.py")]
    return {
        "run": run,
        "run --json": [*run, "--json"],
        "evaluate": evaluate,
        "evaluate --json": [*evaluate, "--json"],
        "doctor": ["doctor"],
        "doctor --json": ["doctor", "--json"],
        "--help": ["--help"],
        "--version": ["--version"],
    }


@pytest.mark.parametrize(
    "command",
    ["run", "run --json", "evaluate", "evaluate --json", "doctor", "doctor --json", "--help", "--version"],
)
def test_stdout_that_nobody_reads_has_status_141(each_command: dict[str, list[str]], command: str) -> None:
    command_line = [*COMMAND, *each_command[command]]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        told = running.stderr.read()
    assert running.returncode == 128 + 13
    assert told.startswith("gigaexec: stopped by SIGPIPE")
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "evaluate", "evaluate --json", "doctor", "--help"])
def test_stdout_on_a_full_disk_has_status_3(each_command: dict[str, list[str]], command: str) -> None:
    done = _in_shell(">/dev/full", *each_command[command])
    assert (done.stderr, done.returncode) == (
        "gigaexec: stdout cannot be written: No space left on device\n",
        3,
    )


@pytest.mark.parametrize("command", ["run", "evaluate", "--version"])
def test_closed_stdout_has_status_3(each_command: dict[str, list[str]], command: str) -> None:
    done = _in_shell(">&-", *each_command[command])
    assert (done.stderr, done.returncode) == ("gigaexec: stdout cannot be written: Bad file descriptor\n", 3)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_stderr_that_cannot_be_written_changes_nothing(
    each_command: dict[str, list[str]], redirection: str
) -> None:
    evaluated = _in_shell(redirection, *each_command["evaluate"])
    assert ("good" in evaluated.stdout, evaluated.stderr, evaluated.returncode) == (True, "", 0)
    failed = _in_shell(redirection, "run", "-", "-f", "missing")
    assert (failed.stdout, failed.stderr, failed.returncode) == ("", "", 1)


def test_closed_stdin_matters_to_who_reads_it_alone(each_command: dict[str, list[str]]) -> None:
    refused = _in_shell("<&-", "run", "-", "-f", "f")
    assert (refused.stdout, refused.returncode) == ("", 2)
    assert refused.stderr == "gigaexec: standard input cannot be read: Bad file descriptor\n"
    done = _in_shell("<&-", *each_command["run"])
    assert (done.stdout, done.stderr, done.returncode) == ('"имя"\n', "", 0)


def test_all_streams_may_be_closed(each_command: dict[str, list[str]]) -> None:
    assert _in_shell("<&- >&- 2>&-", *each_command["run"]).returncode == 3


def test_character_that_the_encoding_lacks_is_an_escape(gigaexec_command: RunCommand) -> None:
    latin = {"PYTHONIOENCODING": "latin-1"}
    done = gigaexec_command("run", "-", "-f", "f", stdin=_PROGRAM, environment=latin)
    assert (done.stdout, done.stderr, done.returncode) == ('"\\u0438\\u043c\\u044f"\n', "", 0)
    wrong = gigaexec_command("run", "имя.py", "-f", "f", environment=latin)
    assert "\\u0438\\u043c\\u044f.py: cannot be read" in wrong.stderr
    assert wrong.returncode == 2


def test_r10_message_with_a_hostile_file_name_is_clean(gigaexec_command: RunCommand, tmp_path: Path) -> None:
    done = gigaexec_command("run", tmp_path / "a\x1b[31m.py", "-f", "f")
    assert "a\\x1b[31m.py: cannot be read" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("source", "is_text"),
    [
        ("# coding: latin-1\ndef f(): return 'é'\n".encode("latin-1"), True),
        (b"\xef\xbb\xbfdef f(): return '\xc3\xa9'\r\n", True),
        (b"def f(): return '\xe9'\n", False),
        (b"# coding: none-such\ndef f(): return 1\n", False),
    ],
)
def test_program_on_standard_input_is_decoded_like_a_file(
    tmp_path: Path, source: bytes, is_text: bool
) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(source)
    for file in (os.fspath(path), "-"):
        done = subprocess.run(
            [*COMMAND, "run", file, "-f", "f"], input=source, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout.decode()) == ((0, '"é"\n') if is_text else (2, ""))
        assert (b"not Python source text" in done.stderr) == (not is_text)
