"""R33: the report of a limit of open files that is too low."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator

import pytest

from gigaexec.pool.starters.descriptors import advice_for, limit_problem


@pytest.fixture
def limit() -> Iterator[int]:
    """A low limit of open files: two descriptors are free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    others = [os.dup(0) for _ in range(100)]  # no gap below the limit
    lowered = max(others) + 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    yield lowered
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for other in others:
        os.close(other)


def test_r33_the_advice_names_a_higher_limit(limit: int) -> None:
    error = OSError(errno.EMFILE, "Too many open files")
    assert f"ulimit -n {max(256, limit + 16)}" in advice_for(error, 2)


def test_r33_a_limit_below_the_needs_of_a_pool_is_a_problem(limit: int) -> None:
    assert limit_problem() == ""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
    problem = limit_problem()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    assert "is 20" in problem


def test_other_errors_get_no_advice_about_descriptors() -> None:
    assert advice_for(OSError(errno.ENOMEM, "no memory"), 1) == ""
    assert advice_for(ValueError("no number"), 1) == ""
