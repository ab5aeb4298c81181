"""The findings of `gigaexec doctor`, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gigaexec.cli.probes import Finding, State
from gigaexec.untrusted.json_text import json_line
from gigaexec.untrusted.log_text import one_line

_STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}
# Wide enough that nothing is wrapped.
_WIDTH_WITHOUT_TERMINAL = 100_000


def show_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as its probe is done, then a conclusion. Return all findings."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    shown = []
    for finding in findings:
        console.print(_row(finding))
        shown.append(finding)
    console.print()
    console.print(_conclusion(shown), style="bold")
    return shown


def findings_as_json(findings: Sequence[Finding]) -> str:
    """Return all findings as one line of JSON. Its key `ok` is true if calls work."""
    return json_line({"ok": not has_problem(findings), "findings": [asdict(one) for one in findings]})


def has_problem(findings: Sequence[Finding]) -> bool:
    """True if something that calls need does not work."""
    return any(finding.state is State.PROBLEM for finding in findings)


def _row(finding: Finding) -> Table:
    # A table of one row: the widths are fixed, because later findings are not known yet.
    row = Table.grid(
        Column(width=max(map(len, State))),
        Column(width=len("spill directory")),
        Column(overflow="fold"),
        padding=(0, 2, 0, 0),
    )
    text = Text("\n".join(map(one_line, finding.fact.splitlines())))
    if finding.advice:
        text.append(f"\n{one_line(finding.advice)}", style="bold")
    row.add_row(Text(finding.state, style=_STYLES[finding.state]), Text(finding.topic), text)
    return row


def _conclusion(findings: Sequence[Finding]) -> str:
    problems = sum(finding.state is State.PROBLEM for finding in findings)
    warnings = sum(finding.state is State.WARNING for finding in findings)
    if problems:
        return f"Calls do not work here yet. Problems to solve: {problems}."
    return "Calls work here." + (f" Warnings: {warnings}." if warnings else "")
