"""Each attack against each preset, as root and as an ordinary user, also on machines that lack features.

One driver process, `tests/security/driver.py`, runs all attacks of a preset and user. With the sandbox off
the attacks must succeed, because an attack that cannot succeed anywhere proves nothing.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import os
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.security import users
from tests.security.attack import Verdict, Where
from tests.security.table import ATTACKS, WORKS_FOR_ROOT, attacks_at

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")

_TIMEOUT_S = 110.0
_DRIVERS_AT_ONCE = 3
# CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN of linux/capability.h.
_CAPABILITIES = (0, 6, 7, 18, 19, 21)
_USERS = {"root": 0, "nobody": users.NOBODY}
_CASES = [
    pytest.param(user, where, attack.id, id=f"{user}-{where}-{attack.id}")
    for user in _USERS
    for where in Where
    for attack in attacks_at(where)
]
_GROUPS = [pytest.param(user, where, id=f"{user}-{where}") for user in _USERS for where in Where]


def _has_rights_of_root() -> bool:
    """Return True if this process has all capabilities that the attacks of `WORKS_FOR_ROOT` need."""
    if sys.platform != "linux" or os.getuid() != 0:
        return False
    line = Path("/proc/self/status").read_text().partition("CapEff:")[2]
    needed = sum(1 << number for number in _CAPABILITIES)
    return int(line.split()[0], 16) & needed == needed


class Reports:
    """Results of all attacks, by user and preset. Several drivers run at once, because they mostly wait.

    Args:
        folder: Holds the report files. Processes of a parallel test run share it; one writes each report.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(_DRIVERS_AT_ONCE)
        self._found: dict[tuple[str, Where], Future[dict[str, Any]]] = {}

    def of(self, user: str, where: Where) -> dict[str, Any]:
        """Return the report for a user and preset. The first call starts the drivers of all reports."""
        if not self._found:
            for case in itertools.product(_USERS, Where):
                self._found[case] = self._threads.submit(_report, self._folder, *case)
        found = self._found[user, where].result()
        if "skip" in found:
            pytest.skip(found["skip"])
        return found

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _report(folder: Path, user: str, where: Where) -> dict[str, Any]:
    if why_not := _why_not(user):
        return {"skip": why_not}
    with open(folder / f"attacks-{user}-{where}.json", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        if not text:
            secret = f"secret{uuid.uuid4().hex}"
            text = users.run_driver(_uid(user), where, secret=secret, timeout_s=_TIMEOUT_S)
            file.write(text)
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def _why_not(user: str) -> str:
    if user == "root" and os.getuid() != 0:
        return "not run as root"
    return users.why_not(_uid(user))


def _uid(user: str) -> int:
    return _USERS[user] if os.getuid() == 0 else os.getuid()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """Results of all attacks. The drivers start on first use."""
    folder = tmp_path_factory.getbasetemp()
    made = Reports(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    yield made
    made.close()


@pytest.mark.parametrize(("user", "where", "name"), _CASES)
def test_attack(reports: Reports, user: str, where: Where, name: str) -> None:
    found = reports.of(user, where)["attacks"][name]
    expected = ATTACKS[name].verdict(where)
    if expected is not Verdict.DEPENDS:
        assert found["through"] is (expected is Verdict.THROUGH), found["detail"]


@pytest.mark.skipif(not _has_rights_of_root(), reason="not root, or root without all capabilities")
@pytest.mark.parametrize("name", WORKS_FOR_ROOT)
def test_what_rights_alone_decide_gets_through_for_root(reports: Reports, name: str) -> None:
    assert ATTACKS[name].verdict(Where.OFF) is Verdict.DEPENDS
    found = reports.of("root", Where.OFF)["attacks"][name]
    assert found["through"], found["detail"]


@pytest.mark.parametrize(("user", "where"), _GROUPS)
def test_next_call_works_and_nothing_is_left(reports: Reports, user: str, where: Where) -> None:
    found = reports.of(user, where)
    assert found["alive"] == "alive"
    assert found["left"] == []


@pytest.mark.parametrize("user", _USERS)
def test_a_machine_that_lacks_something_says_so(reports: Reports, user: str) -> None:
    missing = {where: _missing(reports, user, where) for where in Where if where is not Where.OFF}
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


def _missing(reports: Reports, user: str, where: Where) -> set[str]:
    steps = reports.of(user, where)["confinement"]
    return {name for name, (held, _) in steps.items() if not held}


@pytest.mark.parametrize("where", [Where.NO_NAMESPACES, Where.NO_LANDLOCK, Where.NEITHER])
@pytest.mark.parametrize("user", _USERS)
def test_strict_runs_nothing_there(reports: Reports, user: str, where: Where) -> None:
    missing = _missing(reports, user, where)
    found = json.loads(users.run_driver(_uid(user), where, "strict", secret="-", timeout_s=_TIMEOUT_S))
    assert (found["status"], found["error"]) == ("infrastructure", "SandboxError")
    assert not found["ran"]
    for name in missing:
        assert name in found["message"]
