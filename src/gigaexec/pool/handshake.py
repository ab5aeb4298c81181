"""The handshake with a supervised worker: the first message brings pidfds of worker and root process."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from gigaexec.pool.supervision.process_tree import send_to_child
from gigaexec.pool.watches import OnEvent, Watches
from gigaexec.pool.worker_process import SupervisedProcess
from gigaexec.wire.checks import ProtocolError
from gigaexec.wire.descriptors import OwnedDescriptor


def complete_handshake(
    process: SupervisedProcess, files: Sequence[OwnedDescriptor], watches: Watches, on_exit: OnEvent
) -> int:
    """Take the pidfds out of a worker's first message, and watch for the end of the root process.

    The root process is the init or supervisor above the worker. If it ends, all processes of the call end.

    Args:
        process: The worker's process.
        files: The descriptors of the first message. On return, they are closed or owned by `process`, except
            the returned pidfd.
        watches: Watches the pidfd of the root process.
        on_exit: Called when the root process has ended.

    Returns:
        The pidfd of the root process, which the caller must close.

    Raises:
        ProtocolError: The descriptors are not two pidfds.
        OSError: The pidfd cannot be watched: the user's limit of epoll watches is reached. The root process
            was killed.
    """
    try:
        pidfd = process.complete_handshake(files)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
    try:
        watches.add(pidfd, on_exit)
    except OSError:
        # The worker runs no program yet. It ends with its root, or when its channels close.
        send_to_child(process.root_pid, pidfd, signal.SIGKILL)
        os.close(pidfd)
        raise
    return pidfd
