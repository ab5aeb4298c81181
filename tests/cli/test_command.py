"""The command as a whole: version, help, completion, missing packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gigaexec import __version__
from tests.cli.conftest import RunCommand


def test_version(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"gigaexec {__version__}\n", "", 0)


def test_installed_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("gigaexec")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gigaexec {__version__}\n"


@pytest.mark.parametrize("command", [[], ["run"], ["evaluate"], ["doctor"]])
def test_help_has_examples_and_exit_statuses(gigaexec_command: RunCommand, command: list[str]) -> None:
    done = gigaexec_command(*command, "--help")
    assert done.returncode == 0
    assert f"      gigaexec {' '.join(command)}" in done.stdout
    assert "Exit status: 0" in done.stdout


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("run", "gigaexec run --function NAME [OPTIONS] FILE"),
        ("evaluate", "gigaexec evaluate [OPTIONS] PROBLEM [PROGRAM]..."),
    ],
)
def test_usage_names_what_is_required(gigaexec_command: RunCommand, command: str, usage: str) -> None:
    assert gigaexec_command(command, "--help").stdout.splitlines()[0] == f"Usage: {usage}"


def test_unknown_subcommand_has_status_2(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command("evaluat")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "evaluate" in done.stderr


def test_shell_completion_completes_subcommands(gigaexec_command: RunCommand) -> None:
    done = gigaexec_command(
        environment={
            "_GIGAEXEC_COMPLETE": "complete_bash",
            "COMP_WORDS": "gigaexec ev",
            "COMP_CWORD": "1",
        }
    )
    assert done.stdout.split() == ["evaluate"]


def test_r71_version_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from gigaexec.cli import main\n"
        "sys.argv = ['gigaexec', '--help']\n"
        "main()\n"
        "heavy = {'loky', 'numpy', 'pydantic', 'yaml', 'rich.table', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_missing_cli_extra_is_one_clear_line(package: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from gigaexec.cli import main\n"
        "sys.argv = ['gigaexec', 'doctor']\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr == (
        f'gigaexec: the command line needs {package}; install it with: pip install "gigaexec[cli]"\n'
    )


def test_missing_stages_extra_is_told_by_evaluate_alone(problem: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['yaml'] = None\n"
        "from gigaexec.cli import main\n"
        f"sys.argv = ['gigaexec', 'evaluate', {str(problem)!r}]\n"
        "assert main() == 2\n"
        "sys.argv = ['gigaexec', 'run', '-', '-f', 'f']\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="def f(): return 1", capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert 'pip install "gigaexec[stages]"' in done.stderr
    assert "Traceback" not in done.stderr
