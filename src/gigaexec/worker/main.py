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
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from dataclasses import replace
from os import _exit, getpid as _getpid
from pickle import loads as _loads
from typing import Any

from gigaexec.calls import ErrorKind, ExecutionMetrics, WorkerError, WorkerResult
from gigaexec.worker import leftovers
from gigaexec.worker.accounting import Accountant
from gigaexec.worker.bootstrap import WorkerSettings, become_worker
from gigaexec.worker.capture import StandardStreams
from gigaexec.worker.channel import CallHeader, Ready, WorkerChannel
from gigaexec.worker.program import find_function, load_program, unload_program
from gigaexec.worker.report import describe_exception, name_of_type
from gigaexec.worker.scope import Baseline, CallScope
from gigaexec.worker.value import EncodedValue, SpillLimitError, SpillWriteError, encode_value

_EXIT_BROKEN = 70
"""Exit code of a worker that cannot go on: EX_SOFTWARE of sysexits.h."""


class Worker:
    """Runs calls in this process, one at a time."""

    def __init__(self, accountant: Accountant, streams: StandardStreams, max_rss_kb: int | None) -> None:
        self._accountant = accountant
        self._streams = streams
        self._max_rss_kb = max_rss_kb
        self._baseline = Baseline()
        self._pid = _getpid()

    def run(self, call: CallHeader, arguments: bytearray) -> WorkerResult:
        """Run one call and say how it went. Never raises for what the user's code does."""
        scope = CallScope(self._baseline, call.python_path, call.env)
        with scope:
            # In a context of its own, which keeps decimal's and numpy's settings from the next call.
            error, metrics, encoded = copy_context().run(self._run_in_scope, call, arguments, scope)
        self._streams.flush()
        retire_reason = self._clean_up(scope)
        return WorkerResult(
            spill_path=call.spill_path if encoded.spilled_bytes else None,
            error=error,
            metrics=metrics,
            inline_value=encoded.inline,
            spilled_bytes=encoded.spilled_bytes,
            retire_reason=retire_reason,
        )

    def _run_in_scope(
        self, call: CallHeader, arguments: bytearray, scope: CallScope
    ) -> tuple[WorkerError | None, ExecutionMetrics, EncodedValue]:
        measurement = self._accountant.start()
        error: WorkerError | None = None
        encoded = EncodedValue(None)
        try:
            _require_prepared(scope)
            args, kwargs = _load_arguments(arguments)
            arguments.clear()
            measurement = self._accountant.start()
            value = find_function(load_program(call.code), call.function_name)(*args, **kwargs)
            self._end_forked_child()
            metrics = measurement.stop()
            encoded = _encode(value, call.spill_path, scope)
        except _Failure as failure:
            error = failure.error
        except BaseException as raised:  # sys.exit and KeyboardInterrupt are the call's failure, too
            error = describe_exception(raised)
        finally:
            unload_program()
        self._end_forked_child(error)
        if error is not None:
            metrics = measurement.stop()
        return error, metrics, encoded

    def _end_forked_child(self, error: WorkerError | None = None) -> None:
        """End this process if it is one that the program forked: its answer would pass for the worker's."""
        if _getpid() != self._pid:
            if error is not None:
                print(error.stderr, file=sys.stderr)
            self._streams.flush()
            _exit(0 if error is None else error.returncode & 0xFF)

    def _clean_up(self, scope: CallScope) -> str:
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


class _Failure(Exception):
    """Carries a finished report out of a step."""

    def __init__(self, error: WorkerError) -> None:
        self.error = error


def _require_prepared(scope: CallScope) -> None:
    if scope.not_prepared is not None:
        # Not a full report: looking for source lines walks the very path that cannot be used.
        name = type(scope.not_prepared).__name__
        text = f"the call's env or python_path cannot be set: {name}: {scope.not_prepared}"
        raise _Failure(WorkerError(stderr=text, kind=ErrorKind.ARGUMENTS, summary=text))


def _load_arguments(pickled: bytearray) -> tuple[list[Any], dict[str, Any]]:
    try:
        args, kwargs = _loads(pickled)
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.ARGUMENTS)
        summary = f"the arguments could not be unpickled in the worker: {report.summary}"
        raise _Failure(replace(report, summary=summary)) from None
    return args, kwargs


def _encode(value: Any, spill_path: str, scope: CallScope) -> EncodedValue:
    helpers = scope.imports.register_helpers_by_value()
    try:
        return encode_value(value, spill_path)
    except SpillWriteError as failure:
        text = str(failure)
        raise _Failure(WorkerError(stderr=text, kind=ErrorKind.SPILL, summary=text)) from None
    except SpillLimitError as failure:
        text = f"the return value of type {name_of_type(value)} cannot be sent: {failure}"
        raise _Failure(WorkerError(stderr=text, kind=ErrorKind.VALUE, summary=text)) from None
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.VALUE)
        summary = f"the return value of type {name_of_type(value)} cannot be pickled: {report.summary}"
        error = WorkerError(stderr=report.stderr, kind=ErrorKind.VALUE, summary=summary)
        raise _Failure(error) from None
    finally:
        scope.imports.unregister_helpers(helpers)


_started: tuple[WorkerChannel, Worker, Ready] | None = None


def start(settings: WorkerSettings) -> None:
    """Turn this process into a worker. Its problems are told to the driver by `serve`."""
    global _started
    connection, streams, warnings = become_worker(settings)
    worker = Worker(Accountant(settings.worker_id, settings.node_id), streams, settings.max_rss_kb)
    _started = WorkerChannel(connection), worker, Ready(_getpid(), warnings=tuple(warnings))


def serve() -> None:
    """Answer calls until the driver closes the channel."""
    assert _started is not None
    channel, worker, ready = _started
    try:
        channel.send(ready)
        while (received := channel.receive()) is not None:
            channel.send(worker.run(*received))
    except BaseException as error:
        # The program closed the channel's descriptor, or broke the engine. Ending the process is the one
        # answer that cannot be lost: the driver reports a crash with this text.
        print(f"gigaexec: the worker cannot go on: {type(error).__name__}: {error}", file=sys.stderr)
        _exit(_EXIT_BROKEN)
