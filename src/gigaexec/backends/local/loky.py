"""A backend that reuses its workers, which loky's `fork_exec` starts. Only for programs that are not hostile.

    caller (any thread, any loop) --- Dispatcher (a thread) --- socket --- worker process
                                                            --- socket --- worker process

A worker runs `worker.reused.loop`, which answers calls on a private socket. Through this socket, the
dispatcher sees the start and the end of a call. It can kill each call separately.
"""

from __future__ import annotations

from gigaexec.backends.local.base import LocalBackend
from gigaexec.backends.local.interpreter_exit import worker_was_started
from gigaexec.config import WorkerConfig
from gigaexec.errors import ConfigurationError
from gigaexec.pool.files.spill import SpillDirectory
from gigaexec.pool.starters.loky import LokyStarter


class LokyBackend(LocalBackend):
    """A backend that runs calls in reused worker processes on this machine.

    Workers start with the first call. A backend may be used from several threads and event loops at once, and
    a process may have several backends. After a `shutdown`, the next call starts new workers.

    Reused workers are no sandbox: a program can leave changes in its worker that a later program sees.

    Args:
        config: Configuration of the workers. None for `WorkerConfig.from_env()`.

    Raises:
        UnsupportedPlatformError: This platform is Windows.
        ConfigurationError: The configuration asks for a sandbox.
    """

    _names_results = True

    def __init__(self, config: WorkerConfig | None = None) -> None:
        super().__init__(config)
        if self.config.sandbox.confines:
            raise ConfigurationError(
                "LokyBackend reuses its workers and cannot confine programs; use ForkserverBackend for "
                f"the {str(self.config.sandbox.level)!r} sandbox"
            )

    def _new_starter(self, _: SpillDirectory) -> LokyStarter:
        return LokyStarter(self.config, worker_was_started)
