"""The steps of one call inside a worker process of either kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, replace
from os import _exit, getpid as _getpid
from typing import Any

from gigaexec.calls import ErrorKind, ExecutionMetrics, WorkerError, WorkerResult
from gigaexec.untrusted.plain_values import type_name
from gigaexec.wire.arguments_in import load_arguments
from gigaexec.wire.messages import ReceivedCall
from gigaexec.wire.values_out import (
    EncodedValue,
    SpillLimitError,
    SpillWriteError,
    ValueTooLargeError,
)
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.capture import Streams
from gigaexec.worker.call.limits import LimitFailure, apply_limits, limit_behind
from gigaexec.worker.call.program import find_function, load_program, unload_program
from gigaexec.worker.call.report import describe_exception
from gigaexec.worker.call.scope import CallScope

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


def apply_limits_or_refuse(call: ReceivedCall, *, is_final: bool) -> None:
    """Apply the call's limits. Raises `RefusedError` where one cannot be."""
    try:
        apply_limits(call.header.limits, is_final=is_final)
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
        text = f"the return value of type {type_name(value)} cannot be sent: {failure}"
        raise RefusedError(_report_of(text, ErrorKind.VALUE)) from None
    except ValueTooLargeError as failure:
        error = replace(_report_of(str(failure), ErrorKind.LIMIT), hit=failure.hit)
        raise RefusedError(error) from None
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.VALUE)
        summary = f"the return value of type {type_name(value)} cannot be pickled: {report.summary}"
        raise RefusedError(replace(report, summary=summary)) from None
    finally:
        scope.imports.unregister_helpers(helpers)
