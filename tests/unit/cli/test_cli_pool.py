"""The pool that a command makes for itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from gigaexec.calls import WorkerCall
from gigaexec.cli.pool import pool
from gigaexec.errors import SpillDirectoryError


def test_r38_no_worker_is_left_when_the_block_is_left() -> None:
    async def main() -> int:
        async with pool(max_workers=1) as backend:
            assert backend.max_concurrency == 1
            call = WorkerCall("import os\ndef f(): return os.getpid()", "f")
            worker = await backend.execute(call, deadline_s=30.0)
            assert psutil.pid_exists(worker)
        return int(worker)

    assert not psutil.pid_exists(asyncio.run(main()))


def test_r21_spill_directory_is_checked_before_any_call(spill_dir: Path) -> None:
    spill_dir.mkdir(mode=0o755)

    async def main() -> None:
        async with pool():
            pytest.fail("the block was entered")

    with pytest.raises(SpillDirectoryError):
        asyncio.run(main())
