"""The file descriptors of a reused worker. Restores 0, 1 and 2 after a call, and detects leaks."""

from __future__ import annotations

import os
import resource

from gigaexec.worker.call.capture import Streams


class RestoredStreams(Streams):
    """The standard streams of a reused worker, which `restore` restores after a call."""

    def __init__(self, stdout_pipe: int, stderr_pipe: int) -> None:
        """Point descriptor 0 at /dev/null, and 1 and 2 at the pipes."""
        super().__init__()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # Kept, and closed on exec: the program may close or redirect 0, 1 and 2.
        self._originals = (null, stdout_pipe, stderr_pipe)
        self._identities = tuple(map(_identity, self._originals))
        for descriptor in self._originals:
            os.set_inheritable(descriptor, False)
        self.restore()

    def restore(self) -> None:
        """Restore descriptors 0 to 2 and their objects in `sys`."""
        if tuple(map(_identity, (0, 1, 2))) != self._identities:
            for target, original in enumerate(self._originals):
                os.dup2(original, target, inheritable=True)
        for pipe in self._originals[1:]:
            os.set_blocking(pipe, True)  # a non-blocking pipe loses output silently
        # New objects after every call, 8 us: nothing shows that a program has reconfigured a stream.
        self.renew()


def descriptors_run_low() -> bool:
    """True if the lowest free descriptor is in the upper half of what this process may open."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest_free = os.dup(0)
    except OSError:
        return True
    os.close(lowest_free)
    return soft_limit != resource.RLIM_INFINITY and lowest_free > soft_limit // 2


def _identity(descriptor: int) -> tuple[int, int]:
    try:
        found = os.fstat(descriptor)
    except OSError:  # closed
        return (0, 0)
    return found.st_dev, found.st_ino
