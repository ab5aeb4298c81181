"""Check that docs/security-attacks.md lists all attacks and docs/security.md all sandbox steps."""

from __future__ import annotations

from gigaexec.sandbox.steps import STEP_NAMES
from tests.security.attack import Where
from tests.security.page import PAGE, parts_of, table
from tests.security.table import ATTACKS, GROUPS


def test_the_table_is_that_of_the_attacks() -> None:
    _, found, _ = parts_of(PAGE.read_text("utf-8"))
    assert found == table(), "the tables are outdated; run: python -m tests.security.page"


def test_every_step_of_the_sandbox_is_explained() -> None:
    page = PAGE.with_name("security.md").read_text("utf-8")
    assert [name for name in STEP_NAMES if f"`{name}`" not in page] == []


def test_attacks_have_names_of_their_own() -> None:
    assert len(ATTACKS) == sum(map(len, GROUPS.values()))


def test_strict_stops_what_standard_stops() -> None:
    verdicts = {
        attack.id: (attack.verdict(Where.STANDARD), attack.verdict(Where.STRICT))
        for attack in ATTACKS.values()
    }
    assert [name for name, (standard, strict) in verdicts.items() if standard is not strict] == []
