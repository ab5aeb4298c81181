"""A worker that runs one call and ends."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from gigaexec.calls import ErrorKind, WorkerError
from gigaexec.sandbox_policy import ResultFormat
from gigaexec.worker.accounting import Accountant
from gigaexec.worker.bootstrap import become_session, die_with_parent
from gigaexec.worker.channel import Confined, Ready, ReceivedCall, WorkerChannel
from gigaexec.worker.imports import ImportState
from gigaexec.worker.limits import lift_file_size_limit
from gigaexec.worker.main import EXIT_BROKEN, CallRunner, RefusedError, apply_limits_or_refuse
from gigaexec.worker.messages import encode_message
from gigaexec.worker.sandbox import Isolation
from gigaexec.worker.scope import CallScope
from gigaexec.worker.seeding import draw_seed, seed_generators, seed_hashing_of_children
from gigaexec.worker.value import EncodedValue, UnnamedResultFile, encode_as_data, encode_pickled


@dataclass(frozen=True, slots=True)
class CallPlace:
    """Where a call comes from and runs.

    Args:
        worker_id: 12 hex digits, new for this process.
        node_id: Name of the driver's machine.
        folder: The program's current folder; "" where it is the scratch folder.
        scratch: Its scratch folder; "" where it is not confined.
        results: How its value travels.
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

    def close(self) -> None:
        """Close the descriptors, in the process that does not run the call."""
        for descriptor in (self.channel, self.stdout, self.stderr):
            os.close(descriptor)


def run_one_call(place: CallPlace, keeper_pidfd: int, isolation: Isolation) -> NoReturn:
    """Be the worker of one call, in a process just forked for it."""
    try:
        worker = _OneCallWorker(place, isolation)
        channel = WorkerChannel(socket.socket(fileno=place.channel))
        own_pidfd = os.pidfd_open(os.getpid())
        ready = Ready(os.getpid(), warnings=worker.warnings, steps=isolation.steps)
        channel.send(encode_message(ready), [keeper_pidfd, own_pidfd])
        os.close(own_pidfd)
        os.close(keeper_pidfd)
        received = channel.receive()
        if received is not None:
            worker.run(received, channel)
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. Ending the process is the one
        # answer that cannot be lost: the driver reports a crash with this text.
        print(f"gigaexec: the worker cannot go on: {type(error).__name__}: {error}", file=sys.stderr)
        os._exit(EXIT_BROKEN)
    os._exit(0)


class _OneCallWorker:
    def __init__(self, place: CallPlace, isolation: Isolation) -> None:
        self._place = place
        self._isolation = isolation
        # In a PID namespace the keeper's end is the end of all; elsewhere the kernel is asked for it.
        self.warnings = () if isolation.has_namespaces else tuple(die_with_parent())
        self._streams = become_session(place.stdout, place.stderr)
        os.close(place.stdout)
        os.close(place.stderr)
        os.environ.update(GIGAEVO_WORKER_ID=place.worker_id, GIGAEVO_NODE_ID=place.node_id)
        if place.scratch:
            _move_to(place.scratch)
        else:
            _change_folder(place.folder)
        accountant = Accountant(place.worker_id, place.node_id, is_single_use=True)
        self._runner = CallRunner(accountant, self._streams)

    def run(self, call: ReceivedCall, channel: WorkerChannel) -> None:
        header = call.header
        scope = CallScope(ImportState(os.getcwd()), header.python_path, header.env)
        scope.prepare()
        seed = header.seed if header.seed is not None else draw_seed()
        ended = self._runner.run(
            call, scope, lambda value: self._encode(value, call), lambda: self._prepare(call, seed, channel)
        )
        ended = replace(ended, metrics=replace(ended.metrics, seed=seed))
        self._streams.flush()
        descriptor = ended.encoded.descriptor if ended.encoded is not None else None
        channel.send(encode_message(ended.as_result()), [] if descriptor is None else [descriptor])

    def _prepare(self, call: ReceivedCall, seed: int, channel: WorkerChannel) -> None:
        seed_generators(seed)
        if call.header.seed is not None:
            seed_hashing_of_children(seed)
        apply_limits_or_refuse(call, for_good=True)
        if self._place.scratch:
            self._isolation.confine_program(self._place.scratch, call.header.python_path)
            channel.send(encode_message(Confined(self._isolation.steps)))
        if missing := self._isolation.missing():
            raise RefusedError(WorkerError(stderr=missing, kind=ErrorKind.SANDBOX, summary=missing))

    def _encode(self, value: Any, call: ReceivedCall) -> EncodedValue:
        lift_file_size_limit()
        file = UnnamedResultFile(self._place.scratch or call.header.spill_path)
        max_bytes = call.header.limits.result_bytes
        if self._place.results is ResultFormat.PICKLE:
            return encode_pickled(value, file, max_bytes=max_bytes, with_buffers=True)
        return encode_as_data(value, file, max_bytes=max_bytes)


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
