"""A backend that runs every call in a fresh process, forked from a warm template. It can confine programs.

    caller (any thread, any loop) --- Dispatcher (a thread) --- worker      one call
                                        |                   --- worker      the next one, ready
                                        '--- launcher --- template, forks them all

No state passes from one program to the next, the cost of a call is what its processes used, and every process
that a program started ends with its call. `worker.forked.launcher` and `worker.forked.template` draw the
processes; docs/design.md has the reasons.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gigaexec.backends.local.base import LocalBackend
from gigaexec.backends.local.interpreter_exit import worker_was_started
from gigaexec.config import WorkerConfig
from gigaexec.errors import ConfigurationError, UnsupportedPlatformError
from gigaexec.pool.files.spill import SpillDirectory
from gigaexec.pool.starters.forkserver import ForkserverStarter
from gigaexec.sandbox.file_rules import EXECUTABLE_FOLDERS


class ForkserverBackend(LocalBackend):
    """Runs every call in a fresh process, on Linux.

    The processes are forked from a template that has imported `config.preload`, and confined as
    `config.sandbox` says. A backend may be used from several threads and event loops at once. A process may
    have several backends; each has its own template. After a `shutdown`, the next call starts a new template.

    Args:
        config: How to run workers. None reads `WorkerConfig.from_env()`. `max_calls_per_worker` and
            `max_worker_rss_mb` are for reused workers and must be None.

    Raises:
        UnsupportedPlatformError: This is not Linux.
        ConfigurationError: A setting for reused workers is set. Or the sandbox names files that do not exist
            or cannot be written, or lets programs read the spill directory.
    """

    _names_results = False

    def __init__(self, config: WorkerConfig | None = None) -> None:
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            raise UnsupportedPlatformError(
                "ForkserverBackend needs Linux 5.3 or newer and a Python with os.pidfd_open; use LokyBackend"
            )
        super().__init__(config)
        for name in ("max_calls_per_worker", "max_worker_rss_mb"):
            if getattr(self.config, name) is not None:
                raise ConfigurationError(
                    f"{name} is for reused workers; a worker of ForkserverBackend runs one call"
                )
        policy = self.config.sandbox
        for name, places in (("read", policy.read), ("write", policy.write)):
            for place in places:
                if not Path(place).exists():
                    raise ConfigurationError(f"{name} of the sandbox names {place!r}, which does not exist")

        if policy.confines:
            self._require_private_spill_dir()
            self._require_writable_places()

    def _require_private_spill_dir(self) -> None:
        """Refuse a spill directory that confined programs can read: it holds scratch folders and results."""
        spill_dir = self.config.spill_dir
        places = (
            *EXECUTABLE_FOLDERS,
            sys.prefix,
            sys.base_prefix,
            sys.exec_prefix,
            *self.config.sandbox.read,
            *self.config.sandbox.write,
        )
        for place in places:
            if spill_dir.is_relative_to(Path(place).resolve()):
                raise ConfigurationError(
                    f"the spill directory {spill_dir} is in {place}, which confined programs can read: "
                    "they would see the files of other calls. Set another spill_dir."
                )

    def _require_writable_places(self) -> None:
        """Refuse writable places on a read-only mount: a mount namespace cannot make them writable."""
        for place in self.config.sandbox.write:
            # Devices, pipes and sockets are writable on any mount.
            is_stored = Path(place).is_dir() or Path(place).is_file()
            if is_stored and os.statvfs(place).f_flag & os.ST_RDONLY:
                raise ConfigurationError(f"write of the sandbox names {place!r}, which is mounted read-only")

    def _new_starter(self, spill: SpillDirectory) -> ForkserverStarter:
        return ForkserverStarter(self.config, spill.new_scratch, worker_was_started)
