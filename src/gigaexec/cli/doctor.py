"""`gigaexec doctor`: a check of this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one line of JSON.")] = False,
) -> None:
    """Check this machine, and say what to do about each problem.

    The checks try everything: they start workers, map a file, and kill a driver
    process to see whether its worker ends too.

    Examples:

    \b
        gigaexec doctor
        gigaexec doctor --json | jq '.findings[] | select(.state != "ok")'

    \b
    Exit status: 0 calls work (there may be warnings), 1 something that calls need
    does not work.
    """
    from gigaexec.cli.exit_codes import ExitCode
    from gigaexec.cli.probes import run_probes
    from gigaexec.cli.render.findings import findings_as_json, has_problem, show_findings

    if as_json:
        findings = list(run_probes())
        print(findings_as_json(findings))
    else:
        findings = show_findings(run_probes())
    raise typer.Exit(ExitCode.FAILED if has_problem(findings) else ExitCode.DONE)
