"""The record of the sandbox's steps."""

from __future__ import annotations

import pytest

from gigaexec.calls import ConfinementStep
from gigaexec.sandbox.steps import StepRecord


def fail(error: Exception) -> None:
    raise error


def test_an_attempt_holds_unless_it_raises_an_oserror() -> None:
    record = StepRecord()
    with record.attempt("seccomp"):
        pass
    with record.attempt("private_proc"):
        fail(PermissionError(1, "Operation not permitted", "mount"))
    with record.attempt("unreported", is_reported=False):
        pass
    with pytest.raises(ValueError, match="a bug"), record.attempt("no_capabilities"):
        fail(ValueError("a bug"))
    assert record.steps == (
        ConfinementStep("seccomp", True),
        ConfinementStep("private_proc", False, "[Errno 1] Operation not permitted: 'mount'"),
    )
    assert record.has("seccomp")
    assert not record.has("private_proc")
    assert not record.has("unreported")
    assert record.missing_count == 1


def test_missing_steps_are_listed_by_reason() -> None:
    record = StepRecord()
    assert record.describe_missing() == ""
    record.add([ConfinementStep("pid_namespace", True), ConfinementStep("seccomp", True)])
    record.add_missing("it is off", "landlock_files", "landlock_scopes")
    record.replace_by_missing("pid_namespace", "no space")
    assert record.describe_missing() == (
        "it is off (missing: landlock_files, landlock_scopes); no space (missing: pid_namespace)"
    )
    assert [step.name for step in record.steps] == [
        "seccomp",
        "landlock_files",
        "landlock_scopes",
        "pid_namespace",
    ]
