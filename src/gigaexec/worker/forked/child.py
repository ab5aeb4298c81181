"""A worker that runs one call and ends."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from gigaexec.calls import ErrorKind, WorkerError
from gigaexec.sandbox.isolation import Isolation
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.untrusted.plain_values import type_name
from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.messages import CallHeader, Confined, Ready, ReceivedCall, encode_message, frame_prefix
from gigaexec.wire.values_out import EncodedValue, UnnamedResultFile, encode_as_data, encode_pickled
from gigaexec.worker.bootstrap import EXIT_BROKEN, die_with_parent, volunteer_for_oom_killer
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.capture import InheritedStreams
from gigaexec.worker.call.imports import ImportState
from gigaexec.worker.call.limits import forbid_core_dumps, leave_descriptors_to_driver, lift_file_size_limit
from gigaexec.worker.call.run import CallRunner, FinishedCall, StepFailedError, apply_limits_or_refuse
from gigaexec.worker.call.scope import CallScope
from gigaexec.worker.call.seed import draw_seed, seed_generators, seed_hashing_of_children
from gigaexec.worker.forked.imports import ImportsOfOneCall

# CPython 3.11 specialises bytecode on the eighth run of a function or loop; a failing call takes other
# branches.
_WARM_UP_PROGRAMS = ("def f(x): return x", "def f(x): raise ValueError(x)") * 10
_WARM_UP_REPLY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The identity, folders and descriptors of one worker.

    Args:
        worker_id: 12 hex digits, new for this process.
        node_id: Name of the driver's machine.
        folder: The program's current folder; "" where it is the scratch folder.
        scratch: Its scratch folder; "" where it is not confined.
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
        """All three descriptors."""
        return self.channel, self.stdout, self.stderr

    def close(self) -> None:
        """Close the descriptors, in a process that does not run the call."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def run_one_call(setup: WorkerSetup, root_pidfd: int, isolation: Isolation, engine: Engine) -> NoReturn:
    """Become the worker of one call. Runs in a process forked for the call.

    Args:
        setup: The worker's identity, folders and descriptors.
        root_pidfd: Pidfd of the process whose end ends the call: PID 1 of its namespace, or the supervisor.
        isolation: The namespaces that this process is in.
        engine: The state that this process inherits.
    """
    try:
        engine.streams.attach(setup.stdout, setup.stderr)  # first, so that errors can be reported
        os.setsid()
        volunteer_for_oom_killer()
        warnings = () if isolation.has_pid_namespaces else tuple(die_with_parent())
        isolation.isolate_call(setup.scratch)
        worker = _OneCallWorker(setup, isolation, engine)
        worker.settle()
        channel = WorkerChannel(socket.socket(fileno=setup.channel))
        own_pidfd = os.pidfd_open(os.getpid())
        if warnings or not isolation.call_is_as_expected:
            ready = encode_message(Ready(warnings=warnings, steps=isolation.steps))
        else:
            ready = engine.usual_ready
        channel.send(ready, [root_pidfd, own_pidfd])
        os.close(own_pidfd)
        os.close(root_pidfd)
        received = channel.receive()
        if received is not None:
            worker.run(received, channel)
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. Only the end of the process is
        # sure to reach the driver, which reports a crash with this text.
        print(f"gigaexec: the worker failed: {type(error).__name__}: {error}", file=sys.stderr)
        os._exit(EXIT_BROKEN)
    os._exit(0)


class Engine:
    """The state that a template prepares once and its workers inherit.

    A forked process copies each page before it first writes to it, which takes longer than the write. So
    state that all workers share is made here, and `warm_up` runs the code that workers will run, because the
    interpreter specialises bytecode on its first runs.
    """

    def __init__(self) -> None:
        self.streams = InheritedStreams()
        self.usual_ready = b""
        """The encoded first message of a worker in which every step of the sandbox held."""
        self._modules = sys.modules.copy()
        self._state = ImportState(_current_folder())

    def imports(self, python_path: list[str]) -> ImportsOfOneCall:
        """Return the imports of a call that is about to run."""
        folder = _current_folder()
        if self._state.folder != folder:
            self._state = ImportState(folder)
        return ImportsOfOneCall(self._state, python_path, self._modules)

    def warm_up(self, results: ResultFormat, isolation: Isolation) -> None:
        """Run some calls in this process, then restore the state that the next scope starts from."""
        setup = WorkerSetup("", "", folder="", scratch="", results=results, channel=-1, stdout=-1, stderr=-1)
        path, finders, handler = list(sys.path), list(sys.meta_path), signal.getsignal(signal.SIGINT)
        arguments = pickle.dumps(([1], {}), protocol=5)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            channel = WorkerChannel(theirs)
            for code in _WARM_UP_PROGRAMS:
                header = pickle.dumps(CallHeader(code, "f", [], {}, ""), protocol=5)
                for payload in (header, arguments):
                    ours.sendall(frame_prefix(len(payload)) + payload)
                received = channel.receive()
                assert received is not None
                _OneCallWorker(setup, isolation, self).run(received, channel)
                ours.recv(_WARM_UP_REPLY_BYTES)
        self.usual_ready = encode_message(Ready(steps=isolation.expected_steps))
        sys.path[:] = path
        sys.meta_path[:] = finders
        signal.signal(signal.SIGINT, handler)
        self._modules = sys.modules.copy()


class _OneCallWorker:
    def __init__(self, setup: WorkerSetup, isolation: Isolation, engine: Engine) -> None:
        self._setup = setup
        self._isolation = isolation
        self._engine = engine
        accountant = Accountant(setup.worker_id, setup.node_id, is_single_use=True)
        self._runner = CallRunner(accountant, engine.streams)

    def settle(self) -> None:
        """Apply the worker's identity and current folder."""
        setup = self._setup
        os.environ["GIGAEVO_WORKER_ID"] = setup.worker_id
        os.environ["GIGAEVO_NODE_ID"] = setup.node_id
        if setup.scratch:
            _move_to(setup.scratch)
        else:
            _change_folder(setup.folder)

    def run(self, call: ReceivedCall, channel: WorkerChannel) -> None:
        header = call.header
        scope = CallScope(self._engine.imports(header.python_path), header.env)
        scope.prepare()
        seed = header.seed if header.seed is not None else draw_seed()
        ended = self._runner.run(
            call, scope, lambda value: self._encode(value, call), lambda: self._prepare(call, seed, channel)
        )
        ended = replace(ended, metrics=replace(ended.metrics, seed=seed))
        self._engine.streams.flush()
        _answer(ended, channel)

    def _prepare(self, call: ReceivedCall, seed: int, channel: WorkerChannel) -> None:
        if not os.path.isdir(self._setup.scratch or "/"):
            text = f"the scratch folder {self._setup.scratch} was removed before the call"
            raise StepFailedError(WorkerError(stderr=text, kind=ErrorKind.SPILL, summary=text))
        seed_generators(seed)
        if call.header.seed is not None:
            seed_hashing_of_children(seed)
        apply_limits_or_refuse(call, is_final=True)
        if self._setup.scratch:
            if call.header.limits.open_files is None:
                leave_descriptors_to_driver()
            forbid_core_dumps()
            self._isolation.confine_program(self._setup.scratch, call.header.python_path)
            if failure := self._isolation.landlock_failure:
                raise StepFailedError(WorkerError(stderr=failure, kind=ErrorKind.SANDBOX, summary=failure))
            channel.send(encode_message(Confined(self._isolation.steps)))
        if missing := self._isolation.missing():
            raise StepFailedError(WorkerError(stderr=missing, kind=ErrorKind.SANDBOX, summary=missing))

    def _encode(self, value: Any, call: ReceivedCall) -> EncodedValue:
        lift_file_size_limit(call.header.limits)
        file = UnnamedResultFile(self._setup.scratch or call.header.spill_path)
        max_bytes = call.header.limits.result_bytes
        if self._setup.results is ResultFormat.PICKLE:
            return encode_pickled(value, file, max_bytes=max_bytes, with_buffers=True)
        from gigaexec.wire.data.encoder import ValueNotDataError  # loaded only if results are data

        try:
            return encode_as_data(value, file, max_bytes=max_bytes)
        except ValueNotDataError as failure:
            text = f"the return value of type {type_name(value)} is not plain data: {failure}"
            raise StepFailedError(WorkerError(stderr=text, kind=ErrorKind.VALUE, summary=text)) from None


def _answer(ended: FinishedCall, channel: WorkerChannel) -> None:
    descriptor = ended.encoded.descriptor if ended.encoded is not None else None
    result = ended.as_result()
    try:
        channel.send(encode_message(result), [] if descriptor is None else [descriptor])
    except OSError as error:
        # As many descriptors of this user are in flight as this process may open: another program sends
        # descriptors that nobody receives. The driver can open the file through /proc while it is open here.
        if error.errno != errno.ETOOMANYREFS:
            raise
        channel.send(encode_message(replace(result, file_number=descriptor)))
        channel.receive()  # returns when the driver has opened the file


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed
        return "/"


def _move_to(scratch: str) -> None:
    for name in ("HOME", "TMPDIR", "TEMP", "TMP"):
        os.environ[name] = scratch
    tempfile.tempdir = None
    os.chdir(scratch)


def _change_folder(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError:
        os.chdir("/")  # the driver's current folder was removed
