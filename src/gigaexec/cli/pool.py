"""The pool of one command. The pool is created for the command and shut down when the command ends."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gigaexec.backends.contract import ExecutorBackend
from gigaexec.backends.registry import make_backend
from gigaexec.calls import Outcome, WorkerCall
from gigaexec.cli.options import AUTO
from gigaexec.config import WorkerConfig
from gigaexec.limits import Limits
from gigaexec.pool.files.spill import prepare_directory
from gigaexec.runner import run_call
from gigaexec.sandbox.policy import SandboxLevel, SandboxPolicy


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """The options of a command that configure its pool.

    Args:
        backend: Name or URL of the backend, or "auto".
        sandbox: Level of the sandbox.
        limits: Limits of each call. In these limits, None keeps the limit of `WorkerConfig.from_env()`.
        preload: Modules that workers import before their first call.
        max_workers: Maximum number of calls that run at once; None keeps that of `WorkerConfig.from_env()`.
    """

    backend: str = AUTO
    sandbox: SandboxLevel = SandboxLevel.OFF
    limits: Limits = field(default_factory=Limits)
    preload: tuple[str, ...] = ()
    max_workers: int | None = None

    @property
    def backend_name(self) -> str:
        """Name or URL of the backend. "auto" becomes "forkserver" on Linux or with a sandbox, else "loky"."""
        if self.backend != AUTO:
            return self.backend
        return "forkserver" if sys.platform == "linux" or self.sandbox is not SandboxLevel.OFF else "loky"


@asynccontextmanager
async def open_pool(options: PoolOptions) -> AsyncIterator[ExecutorBackend]:
    """Create a backend from `WorkerConfig.from_env()` and the options. On exit, all workers have ended.

    Raises:
        SpillDirectoryError: The spill directory cannot be used. Without this early check, every call would
            fail with the error.
        ConfigurationError: The options contradict each other, or no backend has this name.
    """
    changes: dict[str, Any] = {"preload": options.preload, "sandbox": SandboxPolicy(options.sandbox)}
    if options.max_workers is not None:
        changes["max_workers"] = options.max_workers
    config = WorkerConfig.from_env()
    config = replace(config, limits=config.limits.overridden_by(options.limits), **changes)
    prepare_directory(config.spill_dir)
    backend = make_backend(options.backend_name, config)
    try:
        yield backend
    finally:
        await backend.shutdown(wait=True)


async def run_one_call(call: WorkerCall, options: PoolOptions, *, deadline_s: float) -> Outcome:
    """Run one call in a pool with one worker.

    Args:
        call: The call.
        options: The options of the pool; `max_workers` is ignored.
        deadline_s: Maximum run time, seconds.

    Raises:
        SpillDirectoryError: The spill directory cannot be used.
        ConfigurationError: The options contradict each other, or the backend cannot report an outcome.
    """
    async with open_pool(replace(options, max_workers=1)) as backend:
        return await run_call(call, deadline_s=deadline_s, backend=backend)
