"""Checks once a module what other suites check after every test: here two thousand share a few processes."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_left_behind() -> Iterator[None]:
    """Fail a module that leaves a process behind. The driver process reports what it leaves itself."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left


@pytest.fixture(autouse=True, scope="session")
def spill_dir() -> None:
    """No backend lives in these tests' own process."""
