"""The loop of a reused worker: one call in, one `WorkerResult` out.

    driver                                   worker (main thread)
      |-- spawns, passes descriptors --------> main()
      |-- WorkerSettings --------------------->|  become_worker(), preload()
      |<------------- Ready -------------------|
      |-- CallHeader, arguments -------------->|  Worker.run()
      |                                        |    RestoredScope
      |   (drains stdout and stderr pipes)     |      CallRunner: the steps of the call
      |                                        |    clean-up
      |<------------- WorkerResult ------------|
      |-- closes the channel ----------------->| main() ends the process

The driver starts a call's deadline clock when the call is in the channel of an idle worker. `forked.child`
runs the same steps in a process that ends after its call.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from io import FileIO
from typing import Any, NoReturn

from gigaexec.calls import WorkerResult
from gigaexec.wire.channel import WorkerChannel
from gigaexec.wire.messages import Ready, ReceivedCall, encode_message
from gigaexec.wire.values_out import EncodedValue, NamedResultFile, encode_value
from gigaexec.worker.bootstrap import preload
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.limits import lift_file_size_limit
from gigaexec.worker.call.run import CallRunner, apply_call_limits
from gigaexec.worker.call.seed import draw_seed, seed_generators
from gigaexec.worker.child_processes import end_child_processes
from gigaexec.worker.death import exit_broken
from gigaexec.worker.reused.scope import (
    Baseline,
    RestoredScope,
    RestoredStreams,
    descriptors_run_low,
    is_on_standard_stream,
)
from gigaexec.worker.reused.start import WorkerSettings, become_worker

# Objects that survive a call are frozen. Then a collection looks only at the objects of one call, which takes
# 20 us instead of 10 ms. Cycles that become garbage while they are frozen, such as those of caches, are freed
# this rarely.
_CALLS_PER_FULL_COLLECTION = 1000


class Worker:
    """Runs calls in this process, one at a time, and restores the process after each call."""

    def __init__(self, accountant: Accountant, streams: RestoredStreams, max_rss_kb: int | None) -> None:
        self._accountant = accountant
        self._streams = streams
        self._max_rss_kb = max_rss_kb
        self._baseline = Baseline()
        self._runner = CallRunner(accountant, streams)
        self._calls_until_full_collection = _CALLS_PER_FULL_COLLECTION
        gc.freeze()

    def run(self, call: ReceivedCall) -> WorkerResult:
        """Run one call and return its result. Never raises, whatever the program does."""
        header = call.header
        scope = RestoredScope(self._baseline, header.import_folders, header.env, header.program_folder)
        with scope:
            finished = self._runner.run(
                call,
                scope,
                program_folder=header.program_folder,
                seed=header.seed,
                prepare=lambda: apply_call_limits(call, is_final=False),
                encode=lambda value: _encode(value, call),
            )
            if header.seed is not None:
                seed_generators(draw_seed())  # the next call must not continue the numbers of this seed
        self._streams.flush()
        return finished.as_result(spill_path=header.spill_path, retire_reason=self._clean_up(scope))

    def _clean_up(self, scope: RestoredScope) -> str:
        """End leftover processes and restore the streams. Returns why the worker must retire, or ""."""
        reasons = []
        self._streams.restore()
        if self._free_garbage():
            reasons.append("the program left a file object that will close a standard stream")
        if scope.not_restored:
            reasons.append(scope.not_restored)
        if killed := end_child_processes():
            reasons.append(f"the program left {killed} processes running")
        if names := leftover_thread_names():
            reasons.append(f"the program left threads running: {', '.join(names[:5])}")
        if descriptors_run_low():
            reasons.append("the program left more than half of the allowed file descriptors open")
        if self._max_rss_kb is not None and (rss_kb := self._accountant.rss_kb()) > self._max_rss_kb:
            reasons.append(
                f"the worker uses {rss_kb // 1024} MiB of memory, "
                f"limit {self._max_rss_kb // 1024} MiB (max_worker_rss_mb)"
            )
        return "; ".join(reasons)

    def _free_garbage(self) -> bool:
        """Free what the program left. Returns True if a living object can still close a standard stream.

        Finalizers of the program run here, within the deadline of its own call.
        """
        self._calls_until_full_collection -= 1
        if self._calls_until_full_collection == 0:
            self._calls_until_full_collection = _CALLS_PER_FULL_COLLECTION
            gc.unfreeze()
        gc.collect()
        self._streams.restore()  # a finalizer may have closed or replaced one of them
        left = any(type(each) is FileIO and is_on_standard_stream(each) for each in gc.get_objects())
        gc.freeze()
        return left


def main(channel_descriptor: int) -> NoReturn:
    """Run a worker until the driver closes the channel. Called first in a new interpreter.

    Args:
        channel_descriptor: A socket to the driver. Its first frame holds the pickled `WorkerSettings`.
    """
    os.set_inheritable(channel_descriptor, False)
    channel = WorkerChannel(socket.socket(fileno=channel_descriptor))
    try:
        settings = channel.receive_settings()
        if isinstance(settings, WorkerSettings):
            _serve(channel, settings)
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. The driver may not receive a
        # message, but always notices the end of this process. Then the driver reports a crash, with the text
        # of this error.
        exit_broken("worker", error)
    os._exit(0)


def _serve(channel: WorkerChannel, settings: WorkerSettings) -> None:
    streams, warnings = become_worker(settings)
    problem = preload(settings.preload)
    worker = Worker(Accountant(settings.worker_id, settings.node_id), streams, settings.max_rss_kb)
    channel.send(encode_message(Ready(problem, tuple(warnings))))
    while (received := channel.receive()) is not None:
        channel.send(encode_message(worker.run(received)))


def leftover_thread_names() -> list[str]:
    """Return the names of all Python threads except the main one."""
    main = threading.main_thread()
    return [thread.name for thread in threading.enumerate() if thread is not main and thread.is_alive()]


def _encode(value: Any, call: ReceivedCall) -> EncodedValue:
    limits = call.header.limits
    lift_file_size_limit(limits)
    return encode_value(value, NamedResultFile(call.header.spill_path), max_bytes=limits.result_bytes)
