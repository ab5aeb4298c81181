"""R109: a fork waits for all pools, and the child closes its copies of them."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from gigaexec.pool import live_pools

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot fork safely")


class FakePool:
    """Records what a fork does to a pool."""

    def __init__(self, *, can_be_held: bool = True) -> None:
        self.seen: list[str] = []
        self._can_be_held = can_be_held

    def stop(self) -> None:
        self.seen.append("stop")

    def join(self, timeout_s: float | None = None) -> bool:
        self.seen.append(f"join {timeout_s}")
        return True

    def hold_before_fork(self, timeout_s: float) -> bool:
        self.seen.append("hold")
        return timeout_s > 0 and self._can_be_held

    def release_after_fork(self) -> None:
        self.seen.append("release")

    def close_after_fork(self) -> None:
        self.seen.append("close")


MakePool = Callable[..., FakePool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """A factory of pools that are live until the test ends."""
    made: list[FakePool] = []

    def make(*, can_be_held: bool = True) -> FakePool:
        made.append(FakePool(can_be_held=can_be_held))
        live_pools.add(made[-1])
        return made[-1]

    yield make
    for pool in made:
        live_pools.begin_end(pool)


def seen_in_child(pool: FakePool) -> str:
    """Fork, and return what the pool has seen in the child."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of os.fork with threads
        child = os.fork()
    if child == 0:
        os.write(writer, " ".join(pool.seen).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


def test_a_pool_is_held_during_a_fork_and_closed_in_the_child(make_pool: MakePool) -> None:
    pool = make_pool()
    assert seen_in_child(pool) == "hold close"
    assert pool.seen == ["hold", "release"]


def test_a_pool_that_cannot_be_held_is_not_released(make_pool: MakePool) -> None:
    pool = make_pool(can_be_held=False)
    assert seen_in_child(pool) == "hold close"
    assert pool.seen == ["hold"]


def test_a_pool_that_is_ending_takes_no_part_in_a_fork(make_pool: MakePool) -> None:
    pool = make_pool()
    live_pools.begin_end(pool)
    assert seen_in_child(pool) == ""


def test_threads_can_fork_at_the_same_time(make_pool: MakePool) -> None:
    pools = [make_pool(), make_pool()]
    threads = [threading.Thread(target=seen_in_child, args=(pool,)) for pool in pools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pool in pools:
        assert pool.seen.count("hold") == pool.seen.count("release") == 2
