"""Show the findings of `gigaexec doctor` as text or as JSON."""

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
_MIN_TEXT_WIDTH = 20


def show_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as its probe is done, then a conclusion. Return all findings."""
    console = Console(highlight=False)
    shown = []
    for finding in findings:
        _show(console, finding)
        shown.append(finding)
    console.print()
    console.print(_conclusion(shown), style="bold")
    return shown


def findings_as_json(findings: Sequence[Finding]) -> str:
    """Return all findings as one line of JSON. In it, the key `ok` is true if calls work."""
    return json_line({"ok": not has_problem(findings), "findings": [asdict(one) for one in findings]})


def has_problem(findings: Sequence[Finding]) -> bool:
    """True if a finding is a problem, so that calls do not work."""
    return any(finding.state is State.PROBLEM for finding in findings)


def _show(console: Console, finding: Finding) -> None:
    head = Text(f"{finding.state:<{_STATE_WIDTH}}  {finding.topic:<{_TOPIC_WIDTH}}  ")
    head.stylize(_STYLES[finding.state], 0, len(finding.state))
    text = Text("\n").join(
        [Text(one_line(line)) for line in finding.fact.splitlines()]
        + [Text(one_line(line), style="bold") for line in finding.advice.splitlines()]
    )
    width = max(_MIN_TEXT_WIDTH, console.width - len(head))
    lines = text.wrap(console, width) if console.is_terminal else text.split("\n")
    indent = Text(" " * len(head))
    for index, line in enumerate(lines):
        console.print((indent if index else head) + line, soft_wrap=True)


def _conclusion(findings: Sequence[Finding]) -> str:
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    if problems:
        return f"Calls do not work here yet. Problems to solve: {problems}."
    return "Calls work here." + (f" Warnings: {warnings}." if warnings else "")
