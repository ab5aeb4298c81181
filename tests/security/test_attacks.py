"""Each attack against each preset, as root and as a plain user; also on machines that lack something.

The attacks of one preset and user are made by one driver process, in `tests/security/driver.py`. Where the
sandbox is off they must get through: an attack that could not work anywhere would prove nothing.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import uuid
from typing import Any

import pytest

from tests.security import users
from tests.security.attack import Verdict, Where
from tests.security.table import ATTACKS, attacks_at

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux")

_TIMEOUT_S = 110.0
_USERS = {"root": 0, "nobody": users.NOBODY}
_CASES = [
    pytest.param(user, where, attack.id, id=f"{user}-{where}-{attack.id}")
    for user in _USERS
    for where in Where
    for attack in attacks_at(where)
]
_GROUPS = [pytest.param(user, where, id=f"{user}-{where}") for user in _USERS for where in Where]


@functools.cache
def report(user: str, where: Where) -> dict[str, Any]:
    """What came of all attacks there."""
    if user == "root" and os.getuid() != 0:
        return {"skip": "not run as root"}
    uid = _USERS[user] if os.getuid() == 0 else os.getuid()
    if why_not := users.why_not(uid):
        return {"skip": why_not}
    text = users.run_driver(uid, where, secret=f"secret{uuid.uuid4().hex}", timeout_s=_TIMEOUT_S)
    found: dict[str, Any] = json.loads(text)
    return found


def _report_or_skip(user: str, where: Where) -> dict[str, Any]:
    found = report(user, where)
    if "skip" in found:
        pytest.skip(found["skip"])
    return found


@pytest.mark.parametrize(("user", "where", "name"), _CASES)
def test_attack(user: str, where: Where, name: str) -> None:
    found = _report_or_skip(user, where)["attacks"][name]
    expected = ATTACKS[name].verdict(where)
    if expected is not Verdict.DEPENDS:
        assert found["through"] is (expected is Verdict.THROUGH), found["detail"]


@pytest.mark.parametrize(("user", "where"), _GROUPS)
def test_next_call_works_and_nothing_is_left(user: str, where: Where) -> None:
    found = _report_or_skip(user, where)
    assert found["alive"] == "alive"
    assert found["left"] == []


@pytest.mark.parametrize("user", _USERS)
def test_a_machine_that_lacks_something_says_so(user: str) -> None:
    missing = {where: _missing(user, where) for where in Where if where is not Where.OFF}
    assert missing[Where.NO_NAMESPACES] >= {
        "user_namespace",
        "pid_namespace",
        "read_only_mounts",
        "private_proc",
    }
    assert "landlock_files" not in missing[Where.NO_NAMESPACES]
    assert missing[Where.NO_LANDLOCK] >= {"landlock_files", "landlock_scopes", "landlock_network"}
    assert "pid_namespace" not in missing[Where.NO_LANDLOCK] - missing[Where.STANDARD]
    assert missing[Where.NEITHER] >= missing[Where.NO_NAMESPACES] | missing[Where.NO_LANDLOCK]


def _missing(user: str, where: Where) -> set[str]:
    steps = _report_or_skip(user, where)["confinement"]
    return {name for name, (held, _) in steps.items() if not held}


@pytest.mark.parametrize("where", [Where.NO_NAMESPACES, Where.NO_LANDLOCK, Where.NEITHER])
@pytest.mark.parametrize("user", _USERS)
def test_strict_runs_nothing_there(user: str, where: Where) -> None:
    missing = _missing(user, where)
    uid = _USERS[user] if os.getuid() == 0 else os.getuid()
    found = json.loads(users.run_driver(uid, where, "strict", secret="-", timeout_s=_TIMEOUT_S))
    assert (found["status"], found["error"]) == ("infrastructure", "SandboxError")
    assert not found["ran"]
    for name in missing:
        assert name in found["message"]
