"""Findings of `gigaexec doctor` for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from gigaexec.cli.probes import Finding, State
from gigaexec.untrusted.json_text import json_line
from gigaexec.untrusted.log_text import one_line

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}
_STATE_WIDTH = max(map(len, State))
_TOPIC_WIDTH = len("spill directory")
_INDENT = " " * (_STATE_WIDTH + 2 + _TOPIC_WIDTH + 2)


def show_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as it is there, then what they come to; return them all."""
    console = Console(highlight=False)
    shown = []
    for finding in findings:
        _show(console, finding)
        shown.append(finding)
    console.print()
    console.print(_conclusion(shown), style="bold")
    return shown


def findings_as_json(findings: Sequence[Finding]) -> str:
    """All findings as one line of JSON; `ok` tells whether calls work."""
    return json_line({"ok": not has_problem(findings), "findings": [asdict(one) for one in findings]})


def has_problem(findings: Sequence[Finding]) -> bool:
    """Tell whether something that calls need does not work."""
    return any(finding.state is State.PROBLEM for finding in findings)


def _show(console: Console, finding: Finding) -> None:
    head = f"{finding.state:<{_STATE_WIDTH}}  {finding.topic:<{_TOPIC_WIDTH}}  "
    lines = [one_line(line) for line in finding.fact.splitlines()] + (
        [one_line(finding.advice)] if finding.advice else []
    )
    text = Text("\n".join(lines))
    if finding.advice:
        text.stylize("bold", len(text) - len(lines[-1]))
    width = max(20, console.width - len(_INDENT)) if console.is_terminal else 10_000
    for index, line in enumerate(text.wrap(console, width)):
        start = Text(head if index == 0 else _INDENT)
        if index == 0:
            start.stylize(_STYLES[finding.state], 0, len(finding.state))
        console.print(start + line, soft_wrap=True)


def _conclusion(findings: Sequence[Finding]) -> str:
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    if problems:
        return f"Calls do not work here yet: {problems} to be solved first."
    return "Calls work here." + (f" Warnings: {warnings}." if warnings else "")
