"""Fixtures for sandbox tests: a user id and folders which that user owns."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gigaexec.sandbox.namespaces import NEW_NETWORK, NEW_USER, unshare
from tests.unit.sandbox.confined import NOBODY, errno_of, in_child

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Folders:
    """Two folders owned by the test's user. Only confinement blocks access to `outside`."""

    scratch: Path
    outside: Path

    @property
    def secret(self) -> Path:
        return self.outside / "secret"


@pytest.fixture(params=["root", "plain user"])
def user(request: pytest.FixtureRequest) -> int:
    """The user id that the child switches to."""
    is_root = os.geteuid() == 0
    if request.param == "root":
        if not is_root:
            pytest.skip("the tests do not run as root")
        return 0
    return NOBODY if is_root else os.geteuid()


@pytest.fixture
def folders(user: int) -> Iterator[Folders]:
    # Not tmp_path: other users cannot enter pytest's folders.
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    made = Folders(base / "scratch", base / "outside")
    for folder in (made.scratch, made.outside):
        folder.mkdir()
    made.secret.write_text("secret")
    for path in (made.scratch, made.outside, made.secret):
        os.chown(path, user, user)
    yield made
    shutil.rmtree(base)


@pytest.fixture
def user_namespaces(user: int) -> None:
    """Skip if the user cannot create a user namespace, or has no capabilities in it."""

    def attempt() -> str:
        def make() -> None:
            unshare(NEW_USER)
            unshare(NEW_NETWORK)  # needs CAP_SYS_ADMIN in the new user namespace; some systems withhold it

        return errno_of(make)

    failure = in_child(attempt, user)
    if failure:
        pytest.skip(f"user {user} cannot create a user namespace on this machine: {failure}")
