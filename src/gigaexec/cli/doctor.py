"""`gigaexec doctor`: what holds on this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one line of JSON.")] = False,
) -> None:
    """Check this machine and say what to do where something does not hold.

    Nothing is assumed: workers are started, a file is mapped, a process is killed to
    see whether its worker dies with it.

    Examples:

    \b
        gigaexec doctor
        gigaexec doctor --json | jq '.findings[] | select(.state != "ok")'

    \b
    Exit status: 0 calls work (there may be warnings), 1 something that calls need
    does not work.
    """
    from gigaexec.cli.doctor_report import findings_as_json, has_problem, show_findings
    from gigaexec.cli.exit_codes import ExitCode
    from gigaexec.cli.probes import examine

    if as_json:
        findings = list(examine())
        print(findings_as_json(findings))
    else:
        findings = show_findings(examine())
    raise typer.Exit(ExitCode.FAILED if has_problem(findings) else ExitCode.DONE)
