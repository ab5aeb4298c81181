"""The handshake with a supervised worker: its first message carries the pidfds of root and worker."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gigaexec.pool.watches import OnEvent, Watches
from gigaexec.pool.worker_process import SupervisedProcess
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.descriptors import OwnedDescriptor


def complete_handshake(
    process: SupervisedProcess, files: Sequence[OwnedDescriptor], watches: Watches, on_exit: OnEvent
) -> int:
    """Take the descriptors of a worker's first message, and watch for the end of its root.

    Args:
        process: The worker's process.
        files: The descriptors. They are closed or owned by the process on return.
        watches: Watches the root's pidfd.
        on_exit: Called at the root's end.

    Returns:
        The root's pidfd, which the caller closes.

    Raises:
        ProtocolError: The descriptors are not two pidfds.
        OSError: The pidfd cannot be watched (the user's epoll watches are used up). The process was killed.
    """
    try:
        pidfd = process.complete_handshake(files)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
    try:
        watches.add(pidfd, on_exit)
    except OSError:
        process.kill(pidfd)
        os.close(pidfd)
        raise
    return pidfd
