"""The finding of `gigaexec doctor` about the sandbox."""

from __future__ import annotations

from gigaexec.calls import ConfinementStep
from gigaexec.cli.probes import State
from gigaexec.cli.probes.sandbox import sandbox_finding

_HELD = ConfinementStep("seccomp", True)


def test_missing_steps_are_grouped_by_their_reason() -> None:
    steps = (
        ConfinementStep("user_namespace", False, "not allowed"),
        ConfinementStep("pid_namespace", False, "not allowed"),
        ConfinementStep("landlock_files", False, "no Landlock"),
        _HELD,
    )
    finding = sandbox_finding(steps, took_s=0.002)
    assert finding.state is State.WARNING
    assert finding.fact.splitlines() == [
        "1 of 4 steps succeed. Missing:",
        "user_namespace, pid_namespace: not allowed",
        "landlock_files: no Landlock",
    ]
    assert finding.advice.splitlines()[0] == "The strict sandbox is not available on this machine."
    assert finding.advice.splitlines()[-1].startswith("Without landlock_files: programs can read and write")


def test_all_steps_hold() -> None:
    finding = sandbox_finding([_HELD], took_s=0.002)
    assert finding.state is State.OK
    assert finding.fact == "all 1 steps succeed, so the strict sandbox works; a call took 2.00 ms"
