"""Replace the per-test leak check by one per module, as about 2000 tests share a few driver processes."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_left_behind() -> Iterator[None]:
    """Fail a module that leaks a process. The driver process reports its own leaks."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert not left


@pytest.fixture(autouse=True, scope="session")
def spill_dir() -> None:
    """Override the global fixture: the test process itself has no backend."""
