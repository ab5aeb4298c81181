"""The pool that a command creates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from tests.process.scripts import is_running

from gigaexec.backends.local.base import LocalBackend
from gigaexec.calls import WorkerCall
from gigaexec.cli.options import AUTO
from gigaexec.cli.pool import PoolOptions, open_pool
from gigaexec.errors import SpillDirectoryError


@pytest.mark.parametrize("choice", [AUTO, "forkserver", "loky"])
def test_r38_no_worker_is_left_when_the_block_is_left(choice: str) -> None:
    before = set(psutil.Process().children(recursive=True))

    async def main() -> set[psutil.Process]:
        async with open_pool(PoolOptions(choice, max_workers=1)) as backend:
            assert isinstance(backend, LocalBackend)
            assert backend.max_concurrency == 1
            assert await backend.execute(WorkerCall("def f(): return 1", "f"), deadline_s=30.0) == 1
            started = set(psutil.Process().children(recursive=True)) - before
            assert started
        return started

    started = asyncio.run(main())
    assert set(psutil.Process().children()) <= before, "expected the process to be reaped"
    assert not [process.pid for process in started if is_running(process.pid)]


def test_r21_spill_directory_is_checked_before_any_call(spill_dir: Path) -> None:
    spill_dir.mkdir(mode=0o755)

    async def main() -> None:
        async with open_pool(PoolOptions()):
            pytest.fail("the block was entered")

    with pytest.raises(SpillDirectoryError):
        asyncio.run(main())
