"""A worker that is forked from the template, runs one call, and ends.

    template --fork--> run_child()
                         own session, isolation, identity
                         Ready, with two pidfds -----------------> driver
                       channel.receive() <------------------------ CallHeader, arguments
                       ChildWorker.run()
                         CallScope
                         CallRunner: sandbox, then the steps of the call
                           Confined, if there is a sandbox ------> driver
                         WorkerResult, perhaps with a file ------> driver

`reused.loop` runs the same steps in a process that serves one call after another.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from gigaexec.calls import ErrorKind
from gigaexec.sandbox.isolation import Isolation
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.untrusted.plain_values import type_name
from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.data.encoder import ValueNotDataError
from gigaexec.wire.messages import Confined, Ready, ReceivedCall, encode_message
from gigaexec.wire.values_out import EncodedValue, UnnamedResultFile, encode_as_data, encode_value
from gigaexec.worker.bootstrap import raise_oom_score
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.limits import forbid_core_dumps, leave_descriptors_to_driver, lift_file_size_limit
from gigaexec.worker.call.run import CallRunner, FinishedCall, StepFailedError, apply_call_limits
from gigaexec.worker.call.scope import CallScope
from gigaexec.worker.call.seed import draw_seed
from gigaexec.worker.death import die_with_parent, exit_broken
from gigaexec.worker.forked.inherited import InheritedState


class ChildSettings(NamedTuple):
    """The identity, folders and descriptors of one worker.

    Args:
        worker_id: Id of the worker: 12 hex digits, new for every process.
        node_id: Name of the driver's machine.
        folder: The program's current folder; "" for the scratch folder.
        scratch: The program's scratch folder; "" if the program is not confined.
        results: Format of the return value.
        channel: Descriptor of the socket to the driver.
        stdout: Descriptor of the pipe for standard output.
        stderr: Descriptor of the pipe for standard error.
    """

    worker_id: str
    node_id: str
    folder: str
    scratch: str
    results: ResultFormat
    channel: int
    stdout: int
    stderr: int

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """The descriptors of the socket and of the two pipes."""
        return self.channel, self.stdout, self.stderr

    def close(self) -> None:
        """Close the three descriptors. For a process that does not run the call, such as the supervisor."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def run_child(
    settings: ChildSettings, root_pidfd: int, isolation: Isolation, inherited: InheritedState
) -> NoReturn:
    """Become the worker of one call. Runs in a process forked for the call.

    Args:
        settings: The worker's identity, folders and descriptors.
        root_pidfd: Pidfd of the root, the process whose end ends all processes of the call: PID 1 of the
            call's namespace, or the supervisor.
        isolation: The sandbox, with the steps that the template has applied.
        inherited: The state that this process inherits from the template.
    """
    try:
        _attach_output(settings)  # first, so that errors can be reported
        os.setsid()
        raise_oom_score()
        warnings = () if isolation.has_pid_namespaces else tuple(die_with_parent())
        isolation.isolate_call(settings.scratch)
        worker = ChildWorker(settings, isolation, inherited)
        _apply_identity(settings)
        channel = WorkerChannel(socket.socket(fileno=settings.channel))
        own_pidfd = os.pidfd_open(os.getpid())
        if warnings or not isolation.has_expected_steps:
            ready = encode_message(Ready(warnings=warnings, steps=isolation.steps))
        else:
            ready = inherited.usual_ready
        channel.send(ready, [root_pidfd, own_pidfd])
        os.close(own_pidfd)
        os.close(root_pidfd)
        received = channel.receive()
        if received is not None:
            worker.run(received, channel)
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. The driver may not receive a
        # message, but always notices the end of this process. Then the driver reports a crash, with the text
        # of this error.
        exit_broken("worker", error)
    os._exit(0)


class ChildWorker:
    """Runs the one call of this process.

    Args:
        settings: The worker's identity, folders and descriptors.
        isolation: The sandbox, with the steps that have been applied so far.
        inherited: The state that this process inherits from the template.
    """

    def __init__(self, settings: ChildSettings, isolation: Isolation, inherited: InheritedState) -> None:
        self._settings = settings
        self._isolation = isolation
        self._inherited = inherited
        accountant = Accountant(settings.worker_id, settings.node_id, is_single_use=True)
        self._runner = CallRunner(accountant, inherited.streams)

    def run(self, call: ReceivedCall, channel: WorkerChannel) -> None:
        """Run the call and send its result. Raises OSError if the channel is closed."""
        header = call.header
        self._inherited.refresh()
        program_folder = self._settings.scratch or header.program_folder
        imports = self._inherited.imports(header.import_folders, program_folder)
        scope = CallScope(imports, self._inherited.modules, header.env)
        scope.prepare()
        finished = self._runner.run(
            call,
            scope,
            program_folder=program_folder,
            seed=header.seed if header.seed is not None else draw_seed(),
            prepare=lambda: self._prepare(call, channel),
            encode=lambda value: self._encode(value, call),
        )
        self._inherited.streams.flush()
        _send_result(finished, channel)

    def _prepare(self, call: ReceivedCall, channel: WorkerChannel) -> None:
        scratch = self._settings.scratch
        if not os.path.isdir(scratch or "/"):
            text = f"the scratch folder {scratch} was removed before the call"
            raise StepFailedError.from_text(text, ErrorKind.SPILL)
        apply_call_limits(call, is_final=True)
        if scratch:
            if call.header.limits.open_files is None:
                leave_descriptors_to_driver()
            forbid_core_dumps()
            self._isolation.confine_program(scratch, call.header.import_folders)
            if failure := self._isolation.landlock_failure:
                raise StepFailedError.from_text(failure, ErrorKind.SANDBOX)
            channel.send(encode_message(Confined(self._isolation.steps)))
        if missing := self._isolation.missing():
            raise StepFailedError.from_text(missing, ErrorKind.SANDBOX)

    def _encode(self, value: Any, call: ReceivedCall) -> EncodedValue:
        lift_file_size_limit(call.header.limits)
        file = UnnamedResultFile(self._settings.scratch or call.header.spill_path)
        max_bytes = call.header.limits.result_bytes
        if self._settings.results is ResultFormat.PICKLE:
            return encode_value(value, file, max_bytes=max_bytes)
        try:
            return encode_as_data(value, file, max_bytes=max_bytes)
        except ValueNotDataError as failure:
            text = f"the data format cannot encode the return value of type {type_name(value)}: {failure}"
            raise StepFailedError.from_text(text, ErrorKind.VALUE) from None


def _attach_output(settings: ChildSettings) -> None:
    """Point descriptors 1 and 2 at the pipes, then close the pipes' original descriptors."""
    for pipe, target in ((settings.stdout, 1), (settings.stderr, 2)):
        os.dup2(pipe, target, inheritable=True)
        os.close(pipe)


def _apply_identity(settings: ChildSettings) -> None:
    """Apply the worker's environment variables and current folder."""
    os.environ["GIGAEVO_WORKER_ID"] = settings.worker_id
    os.environ["GIGAEVO_NODE_ID"] = settings.node_id
    if settings.scratch:
        for name in ("HOME", "TMPDIR", "TEMP", "TMP"):
            os.environ[name] = settings.scratch
        os.chdir(settings.scratch)
        return
    try:
        os.chdir(settings.folder)
    except OSError:
        os.chdir("/")  # the driver's current folder was removed


def _send_result(finished: FinishedCall, channel: WorkerChannel) -> None:
    descriptor = finished.encoded.descriptor if finished.encoded is not None else None
    result = finished.as_result()
    try:
        channel.send(encode_message(result), [] if descriptor is None else [descriptor])
    except OSError as error:
        # ETOOMANYREFS: more descriptors of this user are in flight on sockets than this process may open,
        # because another program sends descriptors that nobody receives. Send the number of the descriptor
        # instead: while the file is open in this process, the driver can open the file through /proc.
        if error.errno != errno.ETOOMANYREFS:
            raise
        channel.send(encode_message(replace(result, file_number=descriptor)))
        channel.receive()  # returns when the driver has opened the file
