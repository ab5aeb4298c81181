"""The first process of a call: it starts the worker, outlives it by a moment, and takes all with it.

    template --fork--> keeper --fork--> worker --runs--> the program and what that starts
                         |  <--- wait4: exit status, resource use
                         |  ---> report to the driver, on a socket that the worker does not have
                         X       its end kills every process of the call

In a PID namespace of its own the keeper is process 1, and the kernel kills the rest when it ends. Where there
is none it is the parent of all orphans, and kills until nothing is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from dataclasses import astuple, dataclass
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any, NoReturn

from gigaexec.worker import leftovers
from gigaexec.worker.accounting import Usage
from gigaexec.worker.bootstrap import adopt_orphans
from gigaexec.worker.one_call import CallPlace, Engine, run_one_call
from gigaexec.worker.sandbox import Isolation


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """What a keeper says of its worker.

    Args:
        wait_status: As wait(2) gives it.
        peak_rss_kb: The largest process's peak of resident memory, KiB.
        used: What all processes of the call used that were waited for.
    """

    wait_status: int
    peak_rss_kb: int
    used: Usage

    def encode(self) -> bytes:
        return json.dumps([self.wait_status, self.peak_rss_kb, *astuple(self.used)]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> KeeperReport:
        """Read a report. Raises ValueError for anything else."""
        numbers: Any = json.loads(text)
        if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("no report of a keeper")
        status, peak, *used = numbers
        try:
            return cls(status, peak, Usage(*used))
        except TypeError as error:
            raise ValueError("no report of a keeper") from error


def keep_call(place: CallPlace, control: socket.socket, isolation: Isolation, engine: Engine) -> NoReturn:
    """Run one call in a process of its own and end with it. Called in a process forked for it.

    Args:
        place: Where the call comes from and runs.
        control: The driver's: its end means that the call is over. The driver believes what is sent there.
        isolation: Where this process is.
        engine: What the worker inherits.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the template lets the kernel reap
    if not isolation.has_namespaces:
        adopt_orphans()
    isolation.isolate_call(place.scratch)
    keeper_pidfd = os.pidfd_open(os.getpid())
    worker = os.fork()
    if worker == 0:
        control.close()
        run_one_call(place, keeper_pidfd, isolation, engine)
    place.close()
    os.close(keeper_pidfd)
    try:
        _watch_driver(control)
        status, peak_rss_kb = _wait_for(worker)
        if not isolation.has_namespaces:
            leftovers.end_child_processes()
        report = KeeperReport(status, peak_rss_kb, Usage.of(getrusage(RUSAGE_CHILDREN)))
        control.sendall(report.encode())
    except _DriverIsGoneError:
        if not isolation.has_namespaces:
            leftovers.end_child_processes()
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
