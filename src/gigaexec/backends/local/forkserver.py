"""A backend that runs every call in a fresh process. The backend can confine programs.

    caller (any thread, any loop) --- Dispatcher (a thread) --- worker      runs one call
                                        |                   --- worker      waits for the next call
                                        '--- launcher --- template      forks all workers

No state passes from one program to the next. The metrics of a call cover exactly the processes of the call.
Every process that a program started ends with the call. `worker.forked.launcher` and `worker.forked.template`
contain drawings of the processes. docs/design.md explains the design.
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
    """A backend that runs every call in a fresh process, on Linux only.

    The processes are forked from a template, a process that has imported the modules in `config.preload`.
    `config.sandbox` says how programs are confined.

    A backend may be used from several threads and event loops at once, and a process may have several
    backends. Every backend has its own template. After a `shutdown`, the next call starts a new template.

    Args:
        config: Configuration of the workers. None for `WorkerConfig.from_env()`. `max_calls_per_worker` and
            `max_worker_rss_mb` must be None, because workers are not reused.

    Raises:
        UnsupportedPlatformError: This platform is not Linux 5.3 or newer, or Python has no `os.pidfd_open`.
        ConfigurationError: A setting for reused workers is not None. Or the sandbox policy contains files
            that do not exist or cannot be written, or allows programs to read the spill directory.
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
                    f"{name} must be None: a worker of ForkserverBackend runs only one call"
                )
        policy = self.config.sandbox
        for name, places in (("read", policy.read), ("write", policy.write)):
            for place in places:
                if not Path(place).exists():
                    raise ConfigurationError(f"SandboxPolicy.{name} contains {place!r}, which does not exist")

        if policy.confines:
            self._require_private_spill_dir()
            self._require_writable_places()

    def _require_private_spill_dir(self) -> None:
        """Raise ConfigurationError if confined programs can read the spill directory.

        The spill directory contains the scratch folders and the results of all calls.
        """
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
                    f"the spill directory {spill_dir} is in {place}, which confined programs can read, so "
                    "programs could read the results of other calls. Set another spill_dir."
                )

    def _require_writable_places(self) -> None:
        """Raise ConfigurationError if a place in `SandboxPolicy.write` is on a read-only mount.

        A mount namespace cannot make such a place writable.
        """
        for place in self.config.sandbox.write:
            # Other places need no check: devices, pipes and sockets are writable on any mount.
            is_stored = Path(place).is_dir() or Path(place).is_file()
            if is_stored and os.statvfs(place).f_flag & os.ST_RDONLY:
                raise ConfigurationError(
                    f"SandboxPolicy.write contains {place!r}, which is on a read-only mount; remove it, or "
                    "mount it read-write"
                )

    def _new_starter(self, spill: SpillDirectory) -> ForkserverStarter:
        return ForkserverStarter(self.config, spill.new_scratch, worker_was_started)
