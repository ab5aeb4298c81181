"""The findings of `gigaexec doctor` on stdout."""

from __future__ import annotations

import re

import pytest

from gigaexec.cli.probes import Finding, State
from gigaexec.cli.render.findings import show_findings

_LONG = Finding("a call", State.PROBLEM, "failed:\nline \x1b[2J [bold]2[/]", "Do " + "this and that " * 20)


def test_r10_text_of_a_program_is_cleaned_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_findings([_LONG]) == [_LONG]
    head, detail, advice, empty, conclusion = capsys.readouterr().out.splitlines()
    assert head.rstrip() == "problem  a call           failed:"
    assert detail.strip() == "line \\x1b[2J [bold]2[/]"
    assert advice.strip() == _LONG.advice.strip()
    assert (empty, conclusion) == ("", "Calls do not work here yet. Problems to solve: 1.")


def test_long_text_is_wrapped_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    show_findings([_LONG, Finding("memory", State.OK, "1 GiB free")])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 60
    wrapped = [line for line in lines if "this and that" in line]
    assert len(wrapped) > 1
    assert all(line.startswith(" " * 26) for line in wrapped)
