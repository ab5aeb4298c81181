"""The loop of a reused worker: one call in, one `WorkerResult` out.

    driver                                   worker (main thread)
      |-- spawns, passes descriptors --------> start(): become_worker()
      |<------------- Ready -------------------| serve()
      |-- CallHeader, arguments -------------->|  CallScope
      |                                        |    arguments, module, function call, value to bytes
      |   (drains stdout and stderr pipes)     |  clean-up
      |<------------- WorkerResult ------------|
      |-- closes the channel ----------------->| serve() returns

The driver's deadline clock starts when the call is in the channel of an idle worker. `forked.child` runs the
same steps in a process that ends after its call.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from os import _exit
from typing import Any

from gigaexec.calls import WorkerResult
from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.messages import Ready, ReceivedCall, encode_message
from gigaexec.wire.values_out import (
    EncodedValue,
    NamedResultFile,
    encode_pickled,
)
from gigaexec.worker import child_processes
from gigaexec.worker.bootstrap import EXIT_BROKEN, WorkerSettings, become_worker, preload
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.capture import StandardStreams
from gigaexec.worker.call.limits import lift_file_size_limit
from gigaexec.worker.call.run import CallRunner, apply_limits_or_refuse
from gigaexec.worker.call.seed import draw_seed, seed_generators, seed_hashing_of_children
from gigaexec.worker.reused import cleanup
from gigaexec.worker.reused.scope import Baseline, RestoredScope


class Worker:
    """Runs calls in this process, one at a time, and restores the process after each."""

    def __init__(self, accountant: Accountant, streams: StandardStreams, max_rss_kb: int | None) -> None:
        self._accountant = accountant
        self._streams = streams
        self._max_rss_kb = max_rss_kb
        self._baseline = Baseline()
        self._runner = CallRunner(accountant, streams)

    def run(self, call: ReceivedCall) -> WorkerResult:
        """Run one call and return its result. Never raises, whatever the program does."""
        header = call.header
        scope = RestoredScope(self._baseline, header.python_path, header.env)
        with scope:
            ended = self._runner.run(
                call,
                scope,
                lambda value: self._encode(value, call),
                lambda: self._prepare(call),
            )
            if header.seed is not None:
                seed_generators(draw_seed())  # the next call must not continue this sequence
        self._streams.flush()
        if header.seed is not None:
            ended = replace(ended, metrics=replace(ended.metrics, seed=header.seed))
        return ended.as_result(spill_path=header.spill_path, retire_reason=self._clean_up(scope))

    @staticmethod
    def _prepare(call: ReceivedCall) -> None:
        if call.header.seed is not None:
            seed_generators(call.header.seed)
            seed_hashing_of_children(call.header.seed)
        apply_limits_or_refuse(call, is_final=False)

    @staticmethod
    def _encode(value: Any, call: ReceivedCall) -> EncodedValue:
        limits = call.header.limits
        lift_file_size_limit(limits)
        return encode_pickled(value, NamedResultFile(call.header.spill_path), max_bytes=limits.result_bytes)

    def _clean_up(self, scope: RestoredScope) -> str:
        """Undo what the call left behind. Returns why this worker must run no other call, or ""."""
        reasons = []
        if scope.not_restored:
            reasons.append(scope.not_restored)
        if killed := child_processes.end_child_processes():
            reasons.append(f"the program left {killed} processes running")
        if names := cleanup.leftover_thread_names():
            reasons.append(f"the program left threads running: {', '.join(names[:5])}")
        self._streams.restore()
        if cleanup.descriptors_run_low():
            reasons.append("the program left more than half of all file descriptors open")
        if self._max_rss_kb is not None and (rss_kb := self._accountant.rss_kb()) > self._max_rss_kb:
            reasons.append(f"{rss_kb // 1024} MiB are resident, more than max_worker_rss_mb")
        return "; ".join(reasons)


_started: tuple[WorkerChannel, Worker, Ready] | None = None


def start(settings: WorkerSettings) -> None:
    """Turn this process into a worker. `serve` reports its problems to the driver."""
    global _started
    connection, streams, warnings = become_worker(settings)
    problem = preload(settings.preload)
    worker = Worker(Accountant(settings.worker_id, settings.node_id), streams, settings.max_rss_kb)
    _started = WorkerChannel(connection), worker, Ready(problem, tuple(warnings))


def serve() -> None:
    """Answer calls until the driver closes the channel."""
    assert _started is not None
    channel, worker, ready = _started
    try:
        channel.send(encode_message(ready))
        while (received := channel.receive()) is not None:
            channel.send(encode_message(worker.run(received)))
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. Only the end of the process is
        # sure to reach the driver, which reports a crash with this text.
        print(f"gigaexec: the worker failed: {type(error).__name__}: {error}", file=sys.stderr)
        _exit(EXIT_BROKEN)
