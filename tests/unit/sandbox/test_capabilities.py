"""Permanent removal of all capabilities."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gigaexec.sandbox.capabilities import drop_all_capabilities
from gigaexec.sandbox.namespaces import NEW_USER, unshare, user_and_group, write_identity_map
from gigaexec.sandbox.system_calls import prctl
from tests.unit.sandbox.confined import errno_of, in_child

_PR_GET_SECUREBITS = 27
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def capability_sets(status: str) -> dict[str, int]:
    fields = dict(line.split(":\t") for line in status.splitlines())
    return {name: int(fields[name], 16) for name in _SETS}


def own_sets() -> dict[str, int]:
    return capability_sets(Path("/proc/self/status").read_text(encoding="utf-8"))


def test_none_is_left(user: int) -> None:
    def confine() -> object:
        drop_all_capabilities()
        return own_sets()

    sets = in_child(confine, user)
    if user:
        del sets["CapBnd"]  # only a process with CAP_SETPCAP may change the bounding set
    assert set(sets.values()) == {0}


def test_a_program_that_root_executes_gets_none() -> None:
    if os.geteuid() != 0:
        pytest.skip("the tests do not run as root")

    def confine() -> object:
        drop_all_capabilities()
        shown = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, check=True)
        return capability_sets(shown.stdout)

    assert set(in_child(confine).values()) == {0}


@pytest.mark.usefixtures("user_namespaces")
def test_user_id_0_means_nothing_any_more(user: int) -> None:
    def confine() -> object:
        unshare(NEW_USER)
        drop_all_capabilities()
        return prctl(_PR_GET_SECUREBITS)

    # linux/securebits.h: no root, no fixup and no ambient raise, each locked; and keep_caps locked off.
    assert in_child(confine, user) == 0b11101111


def test_root_is_bound_by_file_modes(user: int, tmp_path: Path) -> None:
    kept_in = tmp_path / "file"
    kept_in.touch()
    kept_in.chmod(0)

    def confine() -> object:
        drop_all_capabilities()
        return errno_of(kept_in.read_bytes)

    assert in_child(confine, user) == "EACCES"


@pytest.mark.usefixtures("user_namespaces")
def test_those_over_an_own_user_namespace_go_as_well(user: int) -> None:
    def confine() -> object:
        ids = user_and_group()
        unshare(NEW_USER)
        write_identity_map(*ids)
        before = own_sets()
        drop_all_capabilities()
        return before["CapEff"], own_sets()

    effective_before, after = in_child(confine, user)
    assert effective_before
    assert set(after.values()) == {0}
