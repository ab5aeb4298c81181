"""The launcher: the process between the driver and the template.

    driver --exec--> launcher --fork--> template
       |   lifeline     |  <-- wait: ------'
       |----------------'      exit code

The launcher starts from a clean `execve`: whitelisted environment variables, no inherited descriptors. The
launcher enters a user and a mount namespace, forks the template as PID 1 of a PID namespace, and waits for
the template. The launcher dies with the driver, and the template dies with the launcher. The kernel then
kills all other processes of the PID namespace.

If the system refuses namespaces, the launcher itself becomes the template.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from typing import NoReturn

from gigaexec.sandbox.isolation import Isolation
from gigaexec.wire.control import TemplateSettings
from gigaexec.worker.call.scope import require_current_folder
from gigaexec.worker.death import die_with_driver, die_with_parent, outlive_driver
from gigaexec.worker.forked.template import run_template

_SETTINGS_BYTES = 2**20


def main(requests_descriptor: int, lifeline: int) -> NoReturn:
    """Run the launcher. Called first in a new interpreter.

    Args:
        requests_descriptor: Descriptor of a socket to the driver. The first message on the socket is the
            pickled `TemplateSettings`.
        lifeline: The read end of a pipe. End of file means that the driver has ended.
    """
    # If the driver ignores SIGCHLD, this process inherits the ignored signal, and wait(2) reports no child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    require_current_folder()  # for this process; the current folder of a worker comes in its fork request
    os.set_inheritable(requests_descriptor, False)
    requests = socket.socket(fileno=requests_descriptor)
    settings: TemplateSettings = pickle.loads(requests.recv(_SETTINGS_BYTES))
    _print_to_stderr(die_with_driver(lifeline, settings.driver_pid, settings.enable_pdeathsig))
    isolation = Isolation(settings.policy, settings.spill_dir)
    isolation.enter_namespaces()
    if isolation.has_namespaces:
        template = os.fork()
        if template:
            requests.close()
            _, status = os.waitpid(template, 0)
            _exit_like(status)
        os.close(lifeline)
        # PR_SET_PDEATHSIG fires when the forking *thread* ends. The launcher has only one thread.
        _print_to_stderr(die_with_parent())
    else:
        # This process must outlive a killed driver, to kill the processes of the calls. End of file on the
        # socket shows this process that the driver has ended.
        outlive_driver(lifeline)
    run_template(requests, settings, isolation)


def _exit_like(wait_status: int) -> NoReturn:
    """End this process with the exit code or signal of another process, given its wait status."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _print_to_stderr(lines: list[str]) -> None:
    for line in lines:
        os.write(2, f"{line}\n".encode(errors="replace"))
