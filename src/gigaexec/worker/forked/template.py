"""The template: the process that all workers of a pool are forked from.

    driver --exec--> launcher --fork--> template --fork--> worker      one call, in a PID namespace
       |   lifeline     |                  |      --fork--> worker      another call, in another one
       |----------------'                  |
       |------- request, descriptors ------'--- init maker: see `pid_namespaces`

The launcher starts from a clean `execve`: whitelisted environment variables, no inherited descriptors. It
enters a user and a PID namespace, and waits. It dies with the driver, and the kernel then kills all processes
of its PID namespace. When a worker ends, the template sends the kernel's account of it to the driver, and
ends the worker's namespace.

If the system refuses namespaces, launcher and template are one process, and a `supervisor` between template
and worker kills everything that a call leaves.

The template imports `preload`, stays single-threaded and forks. No program ever runs in it.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import NoReturn

from gigaexec.measured import Usage
from gigaexec.sandbox.isolation import SHORTAGES, Isolation
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.control import ForkRequest, StartRefusal, TemplateSettings, WorkerReport
from gigaexec.wire.descriptors import DescriptorsLostError, receive_with_descriptors
from gigaexec.worker import child_processes
from gigaexec.worker.bootstrap import (
    EXIT_BROKEN,
    adopt_orphans,
    close_all_but,
    die_with_driver,
    die_with_parent,
    outlive_driver,
    preload,
    prepare_interpreter,
)
from gigaexec.worker.forked.child import Engine, WorkerSetup, run_one_call
from gigaexec.worker.forked.pid_namespaces import InitsEndedError, NamespaceInits, end_init
from gigaexec.worker.forked.supervisor import supervise_call

_REQUEST_BYTES = 64 * 1024
_SETTINGS_BYTES = 2**20


def main(requests_descriptor: int, lifeline: int) -> NoReturn:
    """Run the launcher. Called first in a new interpreter.

    Args:
        requests_descriptor: A socket; its first message is the pickled `TemplateSettings`.
        lifeline: A pipe's read end. End of file means that the driver has ended.
    """
    # Inherited from the driver, which may ignore SIGCHLD: then no process could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _require_current_folder()
    os.set_inheritable(requests_descriptor, False)
    requests = socket.socket(fileno=requests_descriptor)
    settings: TemplateSettings = pickle.loads(requests.recv(_SETTINGS_BYTES))
    _write_all(2, die_with_driver(lifeline, settings.driver_pid, settings.enable_pdeathsig))
    os.setsid()
    isolation = Isolation(settings.policy, settings.spill_dir)
    isolation.enter_namespaces()
    inits: NamespaceInits | None = None
    if isolation.has_namespaces:
        template = os.fork()
        if template:
            requests.close()
            _, status = os.waitpid(template, 0)
            _end_like(status)
        os.close(lifeline)
        # The launcher has one thread, so only its end sends the signal.
        _write_all(2, die_with_parent())
        try:
            inits = _start_inits(isolation)
        except OSError as error:
            text = f"a template process could not make a PID namespace: {error}"
            _tell(requests.fileno(), StartRefusal(text, is_shortage=error.errno in SHORTAGES).encode())
            os._exit(EXIT_BROKEN)
    else:
        # This process must outlive a killed driver, to kill what it leaves. The socket shows the driver's
        # end.
        outlive_driver(lifeline)
    try:
        _Template(requests, settings, isolation, inits).serve()
    except BaseException as error:
        _write_all(2, [f"gigaexec: the template failed: {type(error).__name__}: {error}"])
    os._exit(EXIT_BROKEN)


@dataclass(frozen=True, slots=True)
class _Running:
    """A call whose processes run.

    Args:
        pid: Process id of the worker, or of the supervisor above it.
        control: Socket to the driver for reports on the call; -1 if the supervisor has it.
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
        sys.argv = [""]
        prepare_interpreter()
        self._requests = requests
        self._settings = settings
        self._isolation = isolation
        self._inits = inits
        self._problem = _preload(settings)
        isolation.settle()
        if inits is None:
            adopt_orphans()
        self._engine = Engine()
        self._engine.warm_up(settings.policy.format_of_results, isolation)
        self._running: dict[int, _Running] = {}
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)
        gc.collect()
        gc.freeze()  # a collection in a child would write to every page with an object, and so copy it

    def serve(self) -> None:
        """Fork workers until the driver ends."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._requests.fileno():
                    self._end(descriptor)
                    continue
                try:
                    text, descriptors = receive_with_descriptors(self._requests, _REQUEST_BYTES)
                except DescriptorsLostError:
                    continue  # the kernel closed the lost descriptors, which the driver sees
                if not text:
                    if self._inits is None:
                        child_processes.end_child_processes()
                    os._exit(0)
                try:
                    self._serve_request(ForkRequest.decode(text), descriptors)
                except InitsEndedError as error:
                    for each in descriptors:
                        os.close(each)
                    self._drain(f"a template process takes no more calls: {error}")

    def _drain(self, reason: str) -> NoReturn:
        """Take no more requests, and end with the last running call. The driver starts another template."""
        _tell(self._requests.fileno(), StartRefusal(reason, is_shortage=False).encode())
        self._poll.unregister(self._requests)
        self._requests.close()
        while self._running:
            for pidfd, _ in self._poll.poll():
                self._end(pidfd)
        os._exit(EXIT_BROKEN)

    def _serve_request(self, request: ForkRequest, descriptors: list[int]) -> None:
        channel, control, stdout, stderr = descriptors
        refusal = StartRefusal(self._problem, is_shortage=False) if self._problem else None
        if refusal is None:
            setup = WorkerSetup(
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
                self._fork(setup, control)
            except OSError as error:
                refusal = StartRefusal(f"the template process cannot fork: {error}", is_shortage=True)
        for descriptor in (channel, stdout, stderr):
            os.close(descriptor)
        if refusal is not None:
            _tell(control, refusal.encode())
            os.close(control)

    def _fork(self, setup: WorkerSetup, control: int) -> None:
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
            self._be_child(setup, control, init)
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
        self._running[pidfd] = _Running(pid, control, init)
        self._poll.register(pidfd, select.POLLIN)

    def _be_child(self, setup: WorkerSetup, control: int, init: int) -> NoReturn:
        try:
            # Descriptors of the other running calls are closed as well.
            close_all_but({*setup.descriptors, *self._isolation.descriptors, init if init != -1 else control})
            if init == -1:
                supervise_call(setup, socket.socket(fileno=control), self._isolation, self._engine)
            run_one_call(setup, init, self._isolation, self._engine)
        finally:
            os._exit(EXIT_BROKEN)

    def _end(self, pidfd: int) -> None:
        """Report a worker that has ended, or clean up after a supervisor that has."""
        self._poll.unregister(pidfd)
        os.close(pidfd)
        running = self._running.pop(pidfd)
        _, status, used = os.wait4(running.pid, 0)
        if running.init == -1:
            # If a program killed its supervisor, this process has adopted the call's orphans.
            child_processes.end_strangers({call.pid for call in self._running.values()})
            return
        _tell(running.control, WorkerReport(status, used.ru_maxrss, Usage.of(used)).encode())
        os.close(running.control)
        end_init(running.init)


def _start_inits(isolation: Isolation) -> NamespaceInits | None:
    """Prepare a PID namespace for each call, before the template loads anything; None if calls get none.

    Raises:
        OSError: A transient shortage, or the template cannot run in its own PID namespace.
    """
    try:
        return NamespaceInits.start()
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        isolation.lose_pid_namespaces(str(error))
        return None


def _require_current_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:  # the driver's folder was removed; requests name the workers' folders
        os.chdir("/")


def _end_like(wait_status: int) -> NoReturn:
    """End this process with the exit code or signal of another one."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _preload(settings: TemplateSettings) -> str:
    if settings.policy.format_of_results is ResultFormat.DATA:
        import gigaexec.wire.data.encoder  # noqa: F401 - loaded once here instead of in every worker
    return preload(settings.preload)


def _tell(control: int, text: bytes) -> None:
    try:
        os.write(control, text)
    except OSError:
        pass  # the driver no longer waits for this call


def _write_all(descriptor: int, lines: list[str]) -> None:
    for line in lines:
        os.write(descriptor, f"{line}\n".encode(errors="replace"))
