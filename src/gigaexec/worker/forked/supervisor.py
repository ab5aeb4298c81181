"""The supervisor: the parent of a worker on machines without PID namespaces.

    template --fork--> supervisor --fork--> worker --runs--> the program and its processes
                           |  <--- wait4: exit status, resource use
                           |  ---> report to the driver, on a socket that the worker does not have

A supervisor adopts all orphans of its call. When the worker or the driver ends, the supervisor kills all
processes of the call: it kills its own descendants until no descendant is left.
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
    """Fork the worker of a call, supervise it, and end with it. Runs in a process forked for the call.

    Args:
        settings: The worker's identity, folders and descriptors.
        control: Socket to the driver. End of file means that the call is over. The driver trusts reports on
            this socket, because the worker does not have the socket.
        isolation: The sandbox, with the steps that the template has applied.
        inherited: The state that the worker inherits from the template.
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
    """Have `_DriverEndedError` raised in this process as soon as the driver closes its end of `control`."""

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
    """Reap orphans until the worker ends. Returns the worker's wait status, and its peak memory in KiB."""
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == worker:
            return status, used.ru_maxrss
