"""The process above a worker on machines without PID namespaces. It kills all processes of its call.

    template --fork--> supervisor --fork--> worker --runs--> the program and its processes
                           |  <--- wait4: exit status, resource use
                           |  ---> report to the driver, on a socket that the worker does not have

A supervisor adopts all orphans of its call. When the worker or the driver ends, the supervisor kills its
descendants until none is left.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from resource import RUSAGE_CHILDREN, getrusage
from typing import NoReturn

from gigaexec.measured import Usage
from gigaexec.sandbox.isolation import Isolation
from gigaexec.wire.control import WorkerReport
from gigaexec.worker.child_processes import adopt_orphans, end_child_processes
from gigaexec.worker.forked.child import ChildSettings, run_child
from gigaexec.worker.forked.inherited import InheritedState


def supervise_call(
    settings: ChildSettings, control: socket.socket, isolation: Isolation, inherited: InheritedState
) -> NoReturn:
    """Fork a worker for one call, supervise it and end with it. Runs in a process forked for the call.

    Args:
        settings: The worker's identity, folders and descriptors.
        control: Socket to the driver. End of file means that the call is over. The driver trusts reports on
            this socket, because the worker does not have it.
        isolation: The namespaces that this process is in.
        inherited: The state that the worker inherits.
    """
    adopt_orphans()
    supervisor_pidfd = os.pidfd_open(os.getpid())
    worker = os.fork()
    if worker == 0:
        control.close()
        run_child(settings, supervisor_pidfd, isolation, inherited)
    settings.close()
    os.close(supervisor_pidfd)
    try:
        _watch_driver(control)
        status, peak_rss_kb = _wait_for(worker)
        end_child_processes()
        control.sendall(WorkerReport(status, peak_rss_kb, Usage.of(getrusage(RUSAGE_CHILDREN))).encode())
    except _DriverEndedError:
        end_child_processes()
    os._exit(0)


class _DriverEndedError(Exception):
    pass


def _watch_driver(control: socket.socket) -> None:
    """From now on, raise `_DriverEndedError` in this process when the driver closes its end of `control`."""

    def on_end(*_: object) -> None:
        raise _DriverEndedError

    signal.signal(signal.SIGIO, on_end)
    fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(control, fcntl.F_SETFL, os.O_ASYNC)
    control.setblocking(False)
    try:
        is_at_end = control.recv(1) == b""
    except BlockingIOError:
        is_at_end = False
    fcntl.fcntl(control, fcntl.F_SETFL, os.O_ASYNC)
    if is_at_end:
        raise _DriverEndedError


def _wait_for(worker: int) -> tuple[int, int]:
    """Reap every orphan until the worker ends. Returns the worker's wait status and peak memory, KiB."""
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == worker:
            return status, used.ru_maxrss
