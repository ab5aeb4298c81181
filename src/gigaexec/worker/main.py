"""One call in, one `WorkerResult` out.

    driver                                   worker (main thread)
      |-- spawns, passes descriptors --------> start(): become_worker()
      |<------------- Ready -------------------| serve()
      |-- CallHeader, arguments -------------->|  CallScope
      |                                        |    arguments, module, function call, value to bytes
      |   (drains stdout and stderr pipes)     |  leftovers
      |<------------- WorkerResult ------------|
      |-- closes the channel ----------------->| serve() returns

The clock of the deadline runs in the driver, from the moment the call is in the channel of an idle worker.
`one_call` runs the same steps in a process that ends after its call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, replace
from os import _exit, getpid as _getpid
from typing import Any

from gigaexec.calls import ErrorKind, ExecutionMetrics, WorkerError, WorkerResult
from gigaexec.worker import leftovers
from gigaexec.worker.accounting import Accountant
from gigaexec.worker.arguments import load_arguments
from gigaexec.worker.bootstrap import WorkerSettings, become_worker
from gigaexec.worker.capture import StandardStreams, Streams
from gigaexec.worker.channel import Ready, ReceivedCall, WorkerChannel
from gigaexec.worker.limits import LimitFailure, apply_limits, lift_file_size_limit, limit_behind
from gigaexec.worker.messages import encode_message
from gigaexec.worker.program import find_function, load_program, unload_program
from gigaexec.worker.report import describe_exception, name_of_type
from gigaexec.worker.scope import Baseline, CallScope, RestoredScope
from gigaexec.worker.seeding import draw_seed, seed_generators, seed_hashing_of_children
from gigaexec.worker.value import (
    EncodedValue,
    NamedResultFile,
    SpillLimitError,
    SpillWriteError,
    ValueTooLargeError,
    encode_pickled,
)

EXIT_BROKEN = 70
"""Exit code of a worker that cannot go on: EX_SOFTWARE of sysexits.h."""

EncodeValue = Callable[[Any], EncodedValue]


class RefusedError(Exception):
    """Carries a finished report out of a step."""

    def __init__(self, error: WorkerError) -> None:
        self.error = error


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call went: its error, or its encoded value."""

    error: WorkerError | None
    encoded: EncodedValue | None
    metrics: ExecutionMetrics

    def as_result(self, *, spill_path: str | None = None, retire_reason: str = "") -> WorkerResult:
        encoded = self.encoded
        return WorkerResult(
            spill_path=spill_path if encoded is not None and encoded.inline is None else None,
            error=self.error,
            metrics=self.metrics,
            inline_value=encoded.inline if encoded is not None else None,
            layout=encoded.layout if encoded is not None else None,
            retire_reason=retire_reason,
        )


class CallRunner:
    """The steps of a call in this process. What comes before and after them differs by the kind of worker."""

    def __init__(self, accountant: Accountant, streams: Streams) -> None:
        self._accountant = accountant
        self._streams = streams
        self._pid = _getpid()

    def run(
        self,
        call: ReceivedCall,
        scope: CallScope,
        encode: EncodeValue,
        prepare: Callable[[], None],
    ) -> Ended:
        """Run one call. Never raises for what the user's code does.

        Args:
            call: What to run.
            scope: The call's scope, prepared.
            encode: Makes bytes of the value.
            prepare: Applies limits, and whatever else must be done before anything of the call is loaded.
                It may raise `RefusedError`.
        """
        # In a context of its own, which keeps decimal's and numpy's settings from the next call.
        return copy_context().run(self._run, call, scope, encode, prepare)

    def _run(
        self, call: ReceivedCall, scope: CallScope, encode: EncodeValue, prepare: Callable[[], None]
    ) -> Ended:
        measurement = self._accountant.start()
        error: WorkerError | None = None
        encoded: EncodedValue | None = None
        header = call.header
        try:
            _require_prepared(scope)
            prepare()
            args, kwargs = _load_arguments(call)
            call.arguments.clear()
            measurement = self._accountant.start()
            value = find_function(load_program(header.code), header.function_name)(*args, **kwargs)
            self._end_forked_child()
            metrics = measurement.stop()
            encoded = _encode(value, encode, scope)
        except RefusedError as refused:
            error = refused.error
        except BaseException as raised:  # sys.exit and KeyboardInterrupt are the call's failure, too
            error = describe_exception(raised)
            if hit := limit_behind(raised, header.limits):
                error = replace(error, kind=ErrorKind.LIMIT, hit=hit)
        finally:
            unload_program()
        self._end_forked_child(error)
        if error is not None:
            metrics = measurement.stop()
        return Ended(error, encoded, metrics)

    def _end_forked_child(self, error: WorkerError | None = None) -> None:
        """End this process if it is one that the program forked: its answer would pass for the worker's."""
        if _getpid() != self._pid:
            if error is not None:
                print(error.stderr, file=sys.stderr)
            self._streams.flush()
            _exit(0 if error is None else error.returncode & 0xFF)


class Worker:
    """Runs calls in this process, one at a time, and brings it back to what it was after each."""

    def __init__(self, accountant: Accountant, streams: StandardStreams, max_rss_kb: int | None) -> None:
        self._accountant = accountant
        self._streams = streams
        self._max_rss_kb = max_rss_kb
        self._baseline = Baseline()
        self._runner = CallRunner(accountant, streams)

    def run(self, call: ReceivedCall) -> WorkerResult:
        """Run one call and say how it went. Never raises for what the user's code does."""
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
                seed_generators(draw_seed())  # the next call is not to go on with these numbers
        self._streams.flush()
        if header.seed is not None:
            ended = replace(ended, metrics=replace(ended.metrics, seed=header.seed))
        return ended.as_result(spill_path=header.spill_path, retire_reason=self._clean_up(scope))

    @staticmethod
    def _prepare(call: ReceivedCall) -> None:
        if call.header.seed is not None:
            seed_generators(call.header.seed)
            seed_hashing_of_children(call.header.seed)
        apply_limits_or_refuse(call, for_good=False)

    @staticmethod
    def _encode(value: Any, call: ReceivedCall) -> EncodedValue:
        limits = call.header.limits
        lift_file_size_limit(limits)
        return encode_pickled(value, NamedResultFile(call.header.spill_path), max_bytes=limits.result_bytes)

    def _clean_up(self, scope: RestoredScope) -> str:
        """Undo what the call left behind. Returns why this worker must not go on, or ""."""
        reasons = []
        if scope.not_restored:
            reasons.append(scope.not_restored)
        if killed := leftovers.end_child_processes():
            reasons.append(f"the program left {killed} processes running")
        if names := leftovers.leftover_thread_names():
            reasons.append(f"the program left threads running: {', '.join(names[:5])}")
        self._streams.restore()
        if leftovers.descriptors_run_low():
            reasons.append("the program left more than half of all file descriptors open")
        if self._max_rss_kb is not None and (rss_kb := self._accountant.rss_kb()) > self._max_rss_kb:
            reasons.append(f"{rss_kb // 1024} MiB are resident, more than max_worker_rss_mb")
        return "; ".join(reasons)


def apply_limits_or_refuse(call: ReceivedCall, *, for_good: bool) -> None:
    """Apply the call's limits. Raises `RefusedError` where one cannot be."""
    try:
        apply_limits(call.header.limits, for_good=for_good)
    except LimitFailure as failure:
        raise RefusedError(_report_of(str(failure), ErrorKind.SETUP)) from None


def _report_of(text: str, kind: ErrorKind) -> WorkerError:
    return WorkerError(stderr=text, kind=kind, summary=text)


def _require_prepared(scope: CallScope) -> None:
    if scope.not_prepared is not None:
        # Not a full report: looking for source lines walks the very path that cannot be used.
        name = type(scope.not_prepared).__name__
        text = f"the call's env or python_path cannot be set: {name}: {scope.not_prepared}"
        raise RefusedError(_report_of(text, ErrorKind.ARGUMENTS))


def _load_arguments(call: ReceivedCall) -> tuple[list[Any], dict[str, Any]]:
    try:
        return load_arguments(call)
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.ARGUMENTS)
        summary = f"the arguments could not be unpickled in the worker: {report.summary}"
        error = replace(report, summary=summary)
        if hit := limit_behind(raised, call.header.limits):
            error = replace(error, kind=ErrorKind.LIMIT, hit=hit)
        raise RefusedError(error) from None


def _encode(value: Any, encode: EncodeValue, scope: CallScope) -> EncodedValue:
    helpers = scope.imports.register_helpers_by_value()
    try:
        return encode(value)
    except RefusedError:
        raise
    except SpillWriteError as failure:
        raise RefusedError(_report_of(str(failure), ErrorKind.SPILL)) from None
    except SpillLimitError as failure:
        text = f"the return value of type {name_of_type(value)} cannot be sent: {failure}"
        raise RefusedError(_report_of(text, ErrorKind.VALUE)) from None
    except ValueTooLargeError as failure:
        error = replace(_report_of(str(failure), ErrorKind.LIMIT), hit=failure.hit)
        raise RefusedError(error) from None
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.VALUE)
        summary = f"the return value of type {name_of_type(value)} cannot be pickled: {report.summary}"
        raise RefusedError(replace(report, summary=summary)) from None
    finally:
        scope.imports.unregister_helpers(helpers)


_started: tuple[WorkerChannel, Worker, Ready] | None = None


def start(settings: WorkerSettings) -> None:
    """Turn this process into a worker. Its problems are told to the driver by `serve`."""
    global _started
    connection, streams, warnings = become_worker(settings)
    problem = preload(settings.preload)
    worker = Worker(Accountant(settings.worker_id, settings.node_id), streams, settings.max_rss_kb)
    _started = WorkerChannel(connection), worker, Ready(problem, tuple(warnings))


def preload(modules: tuple[str, ...]) -> str:
    """Import modules that programs will want. Returns why that cannot be done, or ""."""
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:
            return f"the module {name!r} of preload cannot be imported:\n{describe_exception(error).stderr}"
    return ""


def serve() -> None:
    """Answer calls until the driver closes the channel."""
    assert _started is not None
    channel, worker, ready = _started
    try:
        channel.send(encode_message(ready))
        while (received := channel.receive()) is not None:
            channel.send(encode_message(worker.run(received)))
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. Ending the process is the one
        # answer that cannot be lost: the driver reports a crash with this text.
        print(f"gigaexec: the worker cannot go on: {type(error).__name__}: {error}", file=sys.stderr)
        _exit(EXIT_BROKEN)
