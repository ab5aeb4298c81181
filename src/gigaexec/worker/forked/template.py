"""The template: the process from which all workers of a pool are forked.

    driver                       template
      |-- ForkRequest,              |
      |   four descriptors -------> |--fork--> worker       one call, in a PID namespace
      |                             |--fork--> worker       another call, in another PID namespace
      | <------ WorkerReport -------|          (wait4)
      |                             '--- init maker: see `pid_namespaces`

The launcher starts the template. The template imports the modules of `preload`, stays single-threaded, and
forks. No program of a call ever runs in the template. When a worker ends, the template sends the worker's
exit status and resource usage (wait4) to the driver, and ends the worker's namespace.

If the system refuses namespaces, a supervisor between template and worker sends this report instead, and
kills every process that the call left running.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from typing import NamedTuple, NoReturn

from gigaexec.measured import Usage
from gigaexec.sandbox.isolation import Isolation
from gigaexec.sandbox.shortages import SHORTAGES
from gigaexec.wire.control import ForkRequest, StartRefusal, TemplateSettings, WorkerReport
from gigaexec.wire.descriptors import DescriptorsLostError, receive_with_descriptors
from gigaexec.worker.bootstrap import close_all_but, preload, prepare_interpreter
from gigaexec.worker.child_processes import adopt_orphans, end_child_processes, end_children_except
from gigaexec.worker.death import EXIT_BROKEN, exit_broken
from gigaexec.worker.forked.child import ChildSettings, run_child
from gigaexec.worker.forked.inherited import InheritedState
from gigaexec.worker.forked.pid_namespaces import InitsEndedError, NamespaceInits, end_init
from gigaexec.worker.forked.supervisor import supervise_call
from gigaexec.worker.forked.warm_up import warm_up

_REQUEST_BYTES = 64 * 1024


def run_template(requests: socket.socket, settings: TemplateSettings, isolation: Isolation) -> NoReturn:
    """Become the template, and serve requests until the driver ends.

    Args:
        requests: Socket on which the driver sends fork requests.
        settings: The settings of the template.
        isolation: The sandbox. Its `enter_namespaces` method has been called.
    """
    inits: NamespaceInits | None = None
    if isolation.has_namespaces:
        try:
            inits = _start_inits(isolation)
        except OSError as error:
            text = f"a template process could not create a PID namespace: {error}"
            _send(requests.fileno(), StartRefusal(text, is_shortage=error.errno in SHORTAGES).encode())
            os._exit(EXIT_BROKEN)
    try:
        _Template(requests, settings, isolation, inits).serve()
    except BaseException as error:
        exit_broken("template", error)


def _start_inits(isolation: Isolation) -> NamespaceInits | None:
    """Start the init maker, before the template loads anything. Return None if calls get no PID namespaces.

    Raises:
        OSError: A transient shortage, or /proc of the template's PID namespace cannot be mounted.
    """
    try:
        return NamespaceInits.start()
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        isolation.give_up_pid_namespaces(str(error))
        return None


class _RunningChild(NamedTuple):
    """The processes and descriptors of a running call.

    Args:
        pid: Process id of the worker, or of the supervisor above the worker.
        control: Socket to the driver for the report on the call; -1 if the supervisor has the socket.
        init: Pidfd of the call's init; -1 if the call has no PID namespace.
    """

    pid: int
    control: int
    init: int


class _Template:
    def __init__(
        self,
        requests: socket.socket,
        settings: TemplateSettings,
        isolation: Isolation,
        inits: NamespaceInits | None,
    ) -> None:
        prepare_interpreter()
        self._requests = requests
        self._settings = settings
        self._isolation = isolation
        self._inits = inits
        self._preload_problem = preload(settings.preload)
        isolation.prepare_shared_steps()
        if inits is None:
            adopt_orphans()
        self._inherited = InheritedState()
        warm_up(self._inherited, settings.policy.format_of_results, isolation)
        self._running: dict[int, _RunningChild] = {}
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        gc.collect()
        # Without freeze, a garbage collection in a child would write to every object, and so copy every
        # memory page that contains objects.
        gc.freeze()

    def serve(self) -> NoReturn:
        """Fork a worker for each request, and report each ended worker, until the driver ends."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._requests.fileno():
                    self._receive_request()
                else:
                    self._reap(descriptor)

    def _receive_request(self) -> None:
        try:
            text, descriptors = receive_with_descriptors(self._requests, _REQUEST_BYTES)
        except DescriptorsLostError:
            return  # the kernel closed the lost descriptors: the driver sees end of file at the other ends
        if not text:  # the driver has ended
            if self._inits is None:
                end_child_processes()
            os._exit(0)
        try:
            self._serve_request(ForkRequest.decode(text), descriptors)
        except InitsEndedError as error:
            for each in descriptors:
                os.close(each)
            self._drain(f"a template process takes no more calls: {error}")

    def _drain(self, reason: str) -> NoReturn:
        """Refuse further requests, and end this process after the last running call.

        The driver then starts another template.
        """
        _send(self._requests.fileno(), StartRefusal(reason, is_shortage=False).encode())
        self._poll.unregister(self._requests)
        self._requests.close()
        while self._running:
            for pidfd, _ in self._poll.poll():
                self._reap(pidfd)
        os._exit(EXIT_BROKEN)

    def _serve_request(self, request: ForkRequest, descriptors: list[int]) -> None:
        channel, control, stdout, stderr = descriptors
        problem = self._preload_problem
        refusal = StartRefusal(problem, is_shortage=False) if problem else None
        if refusal is None:
            settings = ChildSettings(
                worker_id=request.worker_id,
                node_id=self._settings.node_id,
                folder=request.folder,
                scratch=request.scratch,
                results=self._settings.policy.format_of_results,
                channel=channel,
                stdout=stdout,
                stderr=stderr,
            )
            try:
                self._fork(settings, control)
            except OSError as error:
                refusal = StartRefusal(
                    f"the template process cannot fork a worker: {error}", is_shortage=True
                )
        for descriptor in (channel, stdout, stderr):
            os.close(descriptor)
        if refusal is not None:
            _send(control, refusal.encode())
            os.close(control)

    def _fork(self, settings: ChildSettings, control: int) -> None:
        inits = self._inits
        if inits is None:
            pid, init = os.fork(), -1
        else:
            init, pid = inits.new(), -1
            try:
                inits.enter(init)
                pid = os.fork()
            finally:
                if pid != 0:
                    inits.leave()
                if pid == -1:
                    end_init(init)
        if pid == 0:
            self._become_child(settings, control, init)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if init != -1:
                end_init(init)
            raise
        if init == -1:
            os.close(control)
            control = -1
        self._running[pidfd] = _RunningChild(pid, control, init)
        self._poll.register(pidfd, select.POLLIN)

    def _become_child(self, settings: ChildSettings, control: int, init: int) -> NoReturn:
        isolation, inherited = self._isolation, self._inherited
        try:
            # This also closes the descriptors of all other running calls.
            close_all_but({*settings.descriptors, *isolation.descriptors, init if init != -1 else control})
            if init == -1:
                supervise_call(settings, socket.socket(fileno=control), isolation, inherited)
            run_child(settings, init, isolation, inherited)
        finally:
            os._exit(EXIT_BROKEN)

    def _reap(self, pidfd: int) -> None:
        """Report a worker that has ended, or clean up after a supervisor that has ended."""
        self._poll.unregister(pidfd)
        os.close(pidfd)
        ended = self._running.pop(pidfd)
        _, status, used = os.wait4(ended.pid, 0)
        if ended.init == -1:
            # Without PID namespaces, a program can kill its supervisor. This process then adopts the orphans.
            end_children_except({running.pid for running in self._running.values()})
            return
        _send(ended.control, WorkerReport(status, used.ru_maxrss, Usage.of(used)).encode())
        os.close(ended.control)
        end_init(ended.init)


def _send(socket_number: int, message: bytes) -> None:
    try:
        os.write(socket_number, message)
    except OSError:
        pass  # the driver has closed its end, and no longer waits for this message
