"""The options that commands share."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gigaexec.cli import options
from gigaexec.cli.options import takes_limits
from gigaexec.limits import LIMIT_SPECS, Limits


def run(*arguments: str) -> tuple[Any, Limits | None]:
    """Run a command that accepts limits; return the command-line result and the parsed limits."""
    seen: list[Limits] = []

    def command(name: str, limits: Limits, loud: bool = False) -> None:
        assert (name, loud) == ("x", False)
        seen.append(limits)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(takes_limits(command))
    result = CliRunner().invoke(app, ["x", *arguments])
    return result, seen[0] if seen else None


def test_memory_is_given_in_mib() -> None:
    assert run()[1] == Limits()
    assert run("--memory-mb", "100")[1] == Limits(memory_bytes=100 * 2**20)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "much"])
def test_an_impossible_amount_is_a_wrong_use(text: str) -> None:
    result, limits = run("--memory-mb", text)
    assert (result.exit_code, limits) == (2, None)
    assert "Invalid value for '--memory-mb'" in result.output


def test_a_limit_becomes_an_option_by_its_spec_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    option_names = {"cpu_time_s": "--cpu-time", "open_files": "--open-files"}
    specs = {
        name: spec._replace(option=option_names.get(name, ""), option_help=f"About {name}.")
        for name, spec in LIMIT_SPECS.items()
    }
    monkeypatch.setattr(options, "LIMIT_SPECS", specs)
    assert run("--cpu-time", "1.5", "--open-files", "30")[1] == Limits(cpu_time_s=1.5, open_files=30)
    text = run("--help")[0].output
    assert "--cpu-time S" in text
    assert "About open_files." in text
    assert "--memory-mb" not in text
    assert run("--open-files", "23")[0].exit_code == 2
    assert run("--cpu-time", "0")[0].exit_code == 2
