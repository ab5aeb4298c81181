"""The process that all workers of a pool are forked from.

    driver --exec--> launcher --fork--> template --fork--> keeper --fork--> worker      one call
       |   lifeline     |                  |      --fork--> keeper --fork--> worker      another call
       |----------------'                  |
       |------- request, descriptors ------'

The launcher starts from a clean `execve`: an environment of whitelisted names, descriptors of its own and no
others. It enters namespaces of users and processes, and waits; it dies with the driver, and its end is the
end of all the others. Where namespaces are refused, launcher and template are one process.

The template imports what programs will want, stays on one thread, and forks. Nothing of a program ever runs
in it.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import socket
import sys
from dataclasses import dataclass
from typing import NoReturn

from gigaexec.sandbox_policy import ResultFormat, SandboxPolicy
from gigaexec.worker.bootstrap import adopt_orphans, die_with_driver, die_with_parent, prepare_interpreter
from gigaexec.worker.channel import receive_with_descriptors
from gigaexec.worker.keeper import keep_call
from gigaexec.worker.main import EXIT_BROKEN, preload
from gigaexec.worker.one_call import CallPlace, Engine
from gigaexec.worker.sandbox import Isolation

_REQUEST_BYTES = 64 * 1024
_DESCRIPTORS_OF_REQUEST = 4


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """What a template is told when it starts.

    Args:
        driver_pid: Process id of the driver.
        node_id: Name of the driver's machine.
        enable_pdeathsig: Whether to ask for PR_SET_PDEATHSIG.
        preload: Modules to import.
        policy: How programs are confined.
    """

    driver_pid: int
    node_id: str
    enable_pdeathsig: bool
    preload: tuple[str, ...]
    policy: SandboxPolicy


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Asks for a worker. Four descriptors come with it: channel, control, stdout and stderr.

    Args:
        worker_id: 12 hex digits.
        folder: The program's current folder; "" where it is the scratch folder.
        scratch: Its scratch folder; "" where it is not confined.
    """

    worker_id: str
    folder: str
    scratch: str

    def encode(self) -> bytes:
        return json.dumps([self.worker_id, self.folder, self.scratch]).encode("ascii")

    @classmethod
    def decode(cls, text: bytes) -> ForkRequest:
        return cls(*json.loads(text))


def main(requests_descriptor: int, lifeline: int) -> NoReturn:
    """What the launcher does. Called as the first thing of a new interpreter.

    Args:
        requests_descriptor: A socket; its first message is the pickled `TemplateSettings`.
        lifeline: A pipe's read end, whose end means that the driver is gone.
    """
    os.set_inheritable(requests_descriptor, False)
    requests = socket.socket(fileno=requests_descriptor)
    settings: TemplateSettings = pickle.loads(requests.recv(_REQUEST_BYTES))
    _write_all(2, die_with_driver(lifeline, settings.driver_pid, settings.enable_pdeathsig))
    os.setsid()
    isolation = Isolation(settings.policy)
    isolation.leave()
    if isolation.has_namespaces:
        template = os.fork()
        if template:
            requests.close()
            _, status = os.waitpid(template, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        os.close(lifeline)
        # The launcher has one thread, so nothing but its own end sends this.
        _write_all(2, die_with_parent())
    _be_template(requests, settings, isolation)


def _be_template(requests: socket.socket, settings: TemplateSettings, isolation: Isolation) -> NoReturn:
    try:
        sys.argv = [""]
        prepare_interpreter()
        problem = _preload(settings)
        isolation.settle()
        if not isolation.has_namespaces:
            adopt_orphans()
        # Its children report to the driver themselves; the kernel reaps them.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        engine = Engine()
        engine.warm_up(settings.policy.format_of_results, isolation)
        gc.collect()
        gc.freeze()  # a collection in a child would write to, and so copy, every page that holds an object
        while True:
            text, descriptors = receive_with_descriptors(requests, _REQUEST_BYTES)
            if not text:
                os._exit(0)
            _serve(requests, ForkRequest.decode(text), descriptors, settings, isolation, engine, problem)
    except BaseException as error:
        _write_all(2, [f"gigaexec: the template cannot go on: {type(error).__name__}: {error}"])
        os._exit(EXIT_BROKEN)


def _preload(settings: TemplateSettings) -> str:
    if settings.policy.format_of_results is ResultFormat.DATA:
        import gigaexec.worker.data_encoder  # noqa: F401 - once here rather than in every worker
    return preload(settings.preload)


def _serve(
    requests: socket.socket,
    request: ForkRequest,
    descriptors: list[int],
    settings: TemplateSettings,
    isolation: Isolation,
    engine: Engine,
    problem: str,
) -> None:
    if len(descriptors) != _DESCRIPTORS_OF_REQUEST:
        raise ValueError(f"a request with {len(descriptors)} descriptors")
    channel, control, stdout, stderr = descriptors
    try:
        if problem:
            os.write(control, problem.encode())
            return
        try:
            pid = isolation.fork()
        except OSError as error:
            os.write(control, f"the template process cannot fork: {error}".encode())
            return
        if pid == 0:
            try:
                requests.close()
                place = CallPlace(
                    worker_id=request.worker_id,
                    node_id=settings.node_id,
                    folder=request.folder,
                    scratch=request.scratch,
                    results=settings.policy.format_of_results,
                    channel=channel,
                    stdout=stdout,
                    stderr=stderr,
                )
                keep_call(place, socket.socket(fileno=control), isolation, engine)
            except BaseException as error:
                os.write(
                    control, f"the call's first process failed: {type(error).__name__}: {error}".encode()
                )
            finally:
                os._exit(EXIT_BROKEN)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _write_all(descriptor: int, lines: list[str]) -> None:
    for line in lines:
        os.write(descriptor, f"{line}\n".encode(errors="replace"))
