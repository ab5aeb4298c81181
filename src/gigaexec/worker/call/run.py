"""Runs one call inside a worker process, reused or forked.

    prepare()          limits and sandbox
    load_arguments()   bytes and files -> args, kwargs
    load_program()     code -> module -> function
    function()         args, kwargs -> value
    encode()           value -> bytes

`prepare` and `encode` differ between the two kinds of worker. Metrics measure `load_program` and `function`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from os import _exit, getpid as _getpid
from typing import Any, NamedTuple

from gigaexec.calls import ErrorKind, ExecutionMetrics, LimitHit, WorkerError, WorkerResult
from gigaexec.limits import Limits
from gigaexec.untrusted.plain_values import type_name
from gigaexec.wire.arguments_in import load_arguments
from gigaexec.wire.class_globals import reason_not_pickled
from gigaexec.wire.messages import ReceivedCall
from gigaexec.wire.values_out import (
    EncodedValue,
    NotRebuiltError,
    SpillLimitError,
    SpillWriteError,
    ValueTooLargeError,
)
from gigaexec.worker.call.accounting import Accountant
from gigaexec.worker.call.capture import Streams
from gigaexec.worker.call.function import call_function, find_function, kind_of_generator
from gigaexec.worker.call.limits import LimitFailure, apply_limits, limit_behind
from gigaexec.worker.call.program import load_program, names_in_program, unload_program
from gigaexec.worker.call.report import describe_exception
from gigaexec.worker.call.scope import CallScope
from gigaexec.worker.call.seed import seed_generators, seed_hashing_of_children
from gigaexec.worker.call.source import FILE_NAME, normalized, provide_file

EncodeValue = Callable[[Any], EncodedValue]


class StepFailedError(Exception):
    """An expected kind of failure while a call was prepared, run or encoded.

    `error` is the complete WorkerError to send.
    """

    def __init__(self, error: WorkerError) -> None:
        self.error = error

    @classmethod
    def from_text(cls, text: str, kind: ErrorKind, hit: LimitHit | None = None) -> StepFailedError:
        """Return an exception whose WorkerError has `text` as its full report and as its summary."""
        return cls(WorkerError(stderr=text, kind=kind, summary=text, hit=hit))


class FinishedCall(NamedTuple):
    """The result of a call: an error or an encoded value, and the metrics."""

    error: WorkerError | None
    encoded: EncodedValue | None
    metrics: ExecutionMetrics

    def as_result(self, *, spill_path: str | None = None, retire_reason: str = "") -> WorkerResult:
        """Return the message for the driver.

        Args:
            spill_path: Path of the file that contains a large value; None if the file is unnamed (unlinked).
            retire_reason: The reason why this worker must not run another call; "" if it may.
        """
        encoded = self.encoded
        return WorkerResult(
            spill_path=spill_path if encoded is not None and encoded.inline is None else None,
            error=self.error,
            metrics=self.metrics,
            inline_value=encoded.inline if encoded is not None else None,
            layout=encoded.layout if encoded is not None else None,
            retire_reason=retire_reason,
            warning=encoded.warning if encoded is not None else "",
        )


class CallRunner:
    """Runs calls. Contains the steps that are the same in reused and forked workers."""

    def __init__(self, accountant: Accountant, streams: Streams) -> None:
        self._accountant = accountant
        self._streams = streams
        self._pid = _getpid()

    def run(
        self,
        call: ReceivedCall,
        scope: CallScope,
        *,
        program_folder: str,
        seed: int | None,
        prepare: Callable[[], None],
        encode: EncodeValue,
    ) -> FinishedCall:
        """Run one call. Never raises, whatever the program does.

        Args:
            call: The call as received from the driver.
            scope: The scope of the call. Its `prepare` method has been called.
            program_folder: Folder for the file `user_code.py` of the program; "" to write no file.
            seed: Seed of the random generators; None to leave the generators as they are.
            prepare: Function that applies limits and sandbox. Called before the arguments and the program are
                loaded. The function may raise `StepFailedError`.
            encode: Function that encodes the return value. The function may raise `StepFailedError`.
        """
        # Run in a copy of the context: settings of decimal and numpy that the program changes must not reach
        # the next call.
        finished = copy_context().run(self._run, call, scope, program_folder, seed, prepare, encode)
        if seed is None:
            return finished
        return finished._replace(metrics=replace(finished.metrics, seed=seed))

    def _run(
        self,
        call: ReceivedCall,
        scope: CallScope,
        program_folder: str,
        seed: int | None,
        prepare: Callable[[], None],
        encode: EncodeValue,
    ) -> FinishedCall:
        measurement = self._accountant.start()
        error: WorkerError | None = None
        encoded: EncodedValue | None = None
        header = call.header
        missing_file = ""
        try:
            _require_prepared(scope)
            _seed(seed, header.seed)
            code = normalized(header.code)
            file, missing_file = _provide_file(code, program_folder, header.file)
            prepare()
            args, kwargs = _load_arguments(call)
            measurement = self._accountant.start()
            try:
                function = find_function(load_program(code, file), header.function_name)
                value = call_function(function, args, kwargs)
            finally:
                scope.modules.restore(names_in_program())
            self._end_forked_child()
            metrics = measurement.stop()
            _require_no_generator(value, header.function_name)
            encoded = _encode(value, encode, scope, header.limits)
        except StepFailedError as failed:
            error = failed.error
        except BaseException as raised:  # sys.exit and KeyboardInterrupt are also failures of the call
            error = describe_exception(raised)
            if missing_file:  # the program may have failed because of it
                error = replace(error, kind=ErrorKind.SPILL, summary=f"{missing_file}; then {error.summary}")
            if hit := limit_behind(raised, header.limits):
                error = replace(error, kind=ErrorKind.LIMIT, hit=hit)
        finally:
            unload_program()
        self._end_forked_child(error)
        if error is not None:
            metrics = measurement.stop()
        return FinishedCall(error, encoded, metrics)

    def _end_forked_child(self, error: WorkerError | None = None) -> None:
        """End this process if the program forked it: only the worker itself may answer the driver."""
        if _getpid() != self._pid:
            if error is not None:
                print(error.stderr, file=sys.stderr)
            self._streams.flush()
            _exit(0 if error is None else error.returncode & 0xFF)


def apply_call_limits(call: ReceivedCall, *, is_final: bool) -> None:
    """Apply the call's limits with `apply_limits`. Raises `StepFailedError` if a limit cannot be applied."""
    try:
        apply_limits(call.header.limits, is_final=is_final)
    except LimitFailure as failure:
        raise StepFailedError.from_text(str(failure), ErrorKind.SETUP) from None


def _require_prepared(scope: CallScope) -> None:
    if scope.not_prepared is not None:
        # Report no traceback: formatting it would read source lines from the folders of sys.path, and
        # sys.path may be the setting that failed.
        name = type(scope.not_prepared).__name__
        text = f"the call's env or python_path cannot be set: {name}: {scope.not_prepared}"
        raise StepFailedError.from_text(text, ErrorKind.ARGUMENTS)


def _provide_file(code: str, folder: str, file: str | None) -> tuple[str, str]:
    """Write the program's file, before the limits of the call are applied.

    Returns:
        The path of the file, and the reason why the file could not be written. Most programs run without it.
    """
    if not folder:
        return file or FILE_NAME, ""
    try:
        return provide_file(code, folder, file), ""
    except OSError as failure:
        problem = f"the program's file could not be written to {folder}: {failure.strerror}"
        return file or f"{folder}/{FILE_NAME}", problem


def _seed(seed: int | None, seed_of_call: int | None) -> None:
    if seed is not None:
        seed_generators(seed)
    if seed_of_call is not None:
        seed_hashing_of_children(seed_of_call)


def _load_arguments(call: ReceivedCall) -> tuple[list[Any], dict[str, Any]]:
    try:
        return load_arguments(call)
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.ARGUMENTS)
        summary = f"the arguments could not be unpickled in the worker: {report.summary}"
        error = replace(report, summary=summary)
        if hit := limit_behind(raised, call.header.limits):
            error = replace(error, kind=ErrorKind.LIMIT, hit=hit)
        raise StepFailedError(error) from None


def _require_no_generator(value: Any, name: str) -> None:
    if found := kind_of_generator(value):
        text = (
            f"the return value of type {type_name(value)} cannot be pickled: {name!r} returned {found}; "
            "return a list of its items"
        )
        raise StepFailedError.from_text(text, ErrorKind.VALUE)


def _encode(value: Any, encode: EncodeValue, scope: CallScope, limits: Limits) -> EncodedValue:
    helpers = scope.imports.register_helpers_by_value()
    try:
        return encode(value)
    except StepFailedError:
        raise
    except SpillWriteError as failure:
        raise StepFailedError.from_text(str(failure), ErrorKind.SPILL) from None
    except SpillLimitError as failure:
        text = f"the return value of type {type_name(value)} cannot be sent: {failure}"
        raise StepFailedError.from_text(text, ErrorKind.VALUE) from None
    except ValueTooLargeError as failure:
        raise StepFailedError.from_text(str(failure), ErrorKind.LIMIT, failure.hit) from None
    except NotRebuiltError as failure:
        report = describe_exception(failure.cause, ErrorKind.REBUILDING)
        summary = (
            f"the return value of type {type_name(value)} was pickled, but cannot be unpickled again in its "
            f"worker: {report.summary}"
        )
        error = replace(report, summary=summary)
        if hit := limit_behind(failure.cause, limits):
            error = replace(error, kind=ErrorKind.LIMIT, hit=hit)
        raise StepFailedError(error) from None
    except BaseException as raised:
        report = describe_exception(raised, ErrorKind.VALUE)
        summary = f"the return value of type {type_name(value)} cannot be pickled: {report.summary}"
        if reason := reason_not_pickled(value):
            summary = f"{summary}; {reason}"
        raise StepFailedError(replace(report, summary=summary)) from None
    finally:
        scope.imports.unregister_helpers(helpers)
