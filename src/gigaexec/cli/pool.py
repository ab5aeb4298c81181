"""The pool of one command: made for it, and gone when it ends, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from gigaexec.backends.loky import LokyBackend
from gigaexec.calls import Outcome, WorkerCall
from gigaexec.config import WorkerConfig
from gigaexec.transport.spill import prepare_directory


@asynccontextmanager
async def pool(max_workers: int | None = None) -> AsyncIterator[LokyBackend]:
    """A backend with the configuration of the environment. Its workers are gone when the block is left.

    Args:
        max_workers: How many calls run at once; None leaves it to the environment.

    Raises:
        SpillDirectoryError: The spill directory cannot be used; told here, before every call fails.
    """
    config = WorkerConfig.from_env()
    if max_workers is not None:
        config = replace(config, max_workers=max_workers)
    prepare_directory(config.spill_dir)
    backend = LokyBackend(config)
    try:
        yield backend
    finally:
        await backend.shutdown(wait=True)


async def run_one_call(call: WorkerCall, *, deadline_s: float) -> Outcome:
    """Run one call in a worker of its own."""
    async with pool(max_workers=1) as backend:
        return await backend.run(call, deadline_s=deadline_s)
