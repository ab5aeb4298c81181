"""The process above a worker where there are no PID namespaces: it takes all of a call with it.

    template --fork--> keeper --fork--> worker --runs--> the program and what that starts
                         |  <--- wait4: exit status, resource use
                         |  ---> report to the driver, on a socket that the worker does not have

It is the parent of all orphans, and kills until nothing is left, when the worker ends or the driver does.
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
from gigaexec.worker import child_processes
from gigaexec.worker.bootstrap import adopt_orphans
from gigaexec.worker.forked.child import CallPlace, Engine, run_one_call


def supervise_call(
    place: CallPlace, control: socket.socket, isolation: Isolation, engine: Engine
) -> NoReturn:
    """Run one call in a process of its own and end with it. Called in a process forked for it.

    Args:
        place: Where the call comes from and runs.
        control: The driver's: its end means that the call is over. The driver believes what is sent there.
        isolation: Where this process is.
        engine: What the worker inherits.
    """
    adopt_orphans()
    supervisor_pidfd = os.pidfd_open(os.getpid())
    worker = os.fork()
    if worker == 0:
        control.close()
        run_one_call(place, supervisor_pidfd, isolation, engine)
    place.close()
    os.close(supervisor_pidfd)
    try:
        _watch_driver(control)
        status, peak_rss_kb = _wait_for(worker)
        child_processes.end_child_processes()
        control.sendall(WorkerReport(status, peak_rss_kb, Usage.of(getrusage(RUSAGE_CHILDREN))).encode())
    except _DriverIsGoneError:
        child_processes.end_child_processes()
    os._exit(0)


class _DriverIsGoneError(Exception):
    pass


def _watch_driver(control: socket.socket) -> None:
    """Have this process interrupted by `_DriverIsGoneError` when the driver closes its end."""

    def on_end(*_: object) -> None:
        raise _DriverIsGoneError

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
        raise _DriverIsGoneError


def _wait_for(worker: int) -> tuple[int, int]:
    """Reap every orphan until the worker ends; its wait status and peak memory, KiB."""
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == worker:
            return status, used.ru_maxrss
