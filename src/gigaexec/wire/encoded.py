"""Calls with encoded arguments, and outcomes with encoded values, to be exchanged with other machines.

    driver                          agent                            worker
    EncodedCall.from_call           runs an EncodedCall              decodes the arguments, runs the call,
    EncodedOutcome.decode           passes an EncodedOutcome on      encodes the value

The agent passes arguments and values on, and never decodes them. `wire.remote` encodes an `EncodedCall` and
an `EncodedOutcome` as bytes.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field, replace
from typing import Any

from gigaexec.calls import Outcome, ValueLayout, WorkerCall
from gigaexec.checks import require_seconds
from gigaexec.errors import GigaexecError, InvalidCallError
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.buffers import SEPARATE_BUFFER_BYTES, pickle_into, write_aligned
from gigaexec.wire.values_in import NOT_DECODED, ValueBytes


@dataclass(frozen=True, slots=True)
class EncodedCall:
    """A call whose arguments are still encoded.

    Args:
        call: The call without its arguments: `call.args` and `call.kwargs` are empty.
        arguments: The encoded `(args, kwargs)`.
        deadline_s: Maximum run time of the call, seconds.
        queue_timeout_s: Longest wait for a worker, seconds; None is no limit.
        limits: Limits of the call, in addition to the limits of the backend that runs the call.
    """

    call: WorkerCall
    arguments: ValueBytes
    deadline_s: float
    queue_timeout_s: float | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_call(
        cls,
        call: WorkerCall,
        *,
        deadline_s: float,
        queue_timeout_s: float | None = None,
        limits: Limits | None = None,
        arguments_as: ResultFormat = ResultFormat.DATA,
    ) -> EncodedCall:
        """Return the call with its arguments encoded. The original call is not needed afterwards.

        Args:
            call: The call to encode. Relative folders in python_path become absolute, based on the current
                folder.
            deadline_s: Maximum run time of the call, seconds.
            queue_timeout_s: Longest wait for a worker, seconds; None is no limit.
            limits: Limits of the call; None sets no limits.
            arguments_as: `DATA` for the data format, which every agent accepts, or `PICKLE`, which an agent
                accepts only if it is configured to.

        Raises:
            InvalidCallError: An argument cannot be encoded. Or python_path contains a relative folder, and
                the current folder was removed.
            ConfigurationError: deadline_s or queue_timeout_s is out of range.
        """
        deadline_s = require_seconds("deadline_s", deadline_s)
        if queue_timeout_s is not None:
            queue_timeout_s = require_seconds("queue_timeout_s", queue_timeout_s, allow_zero=True)
        return cls(
            WorkerCall(
                call.code,
                call.function_name,
                python_path=[absolute_folder(entry) for entry in call.python_path],
                env=call.env,
                seed=call.seed,
                file=call.file,
            ),
            _encode_data(call) if arguments_as is ResultFormat.DATA else _encode_pickle(call),
            deadline_s,
            queue_timeout_s,
            limits if limits is not None else Limits(),
        )


def absolute_folder(folder: str) -> str:
    """Return the absolute path of a folder in a call's python_path. Symbolic links are not resolved.

    Raises:
        InvalidCallError: The folder is relative, and the current folder of this process was removed.
    """
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    except FileNotFoundError as error:
        raise InvalidCallError(
            f"python_path contains the relative folder {folder!r}, but the current folder of this process "
            "was removed; use an absolute path"
        ) from error


def _encode_data(call: WorkerCall) -> ValueBytes:
    from gigaexec.wire.data.encoder import ValueNotDataError, encode_data  # msgspec takes long to import

    try:
        encoded = encode_data((call.args, call.kwargs), are_arguments=True)
    except ValueNotDataError as error:
        raise InvalidCallError(str(error)) from error
    return _joined("data", encoded.head, encoded.buffers)


def _encode_pickle(call: WorkerCall) -> ValueBytes:
    sink = io.BytesIO()
    try:
        buffers = pickle_into(sink, (call.args, call.kwargs), separate_bytes=SEPARATE_BUFFER_BYTES)
    except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
        raise InvalidCallError(f"the arguments cannot be pickled: {type(error).__name__}: {error}") from error
    return _joined("pickle", sink.getvalue(), buffers)


def _joined(name: str, head: bytes, buffers: list[memoryview]) -> ValueBytes:
    parts: list[Any] = [head]
    spans, end = write_aligned(parts.append, len(head), buffers)
    return ValueBytes(ValueLayout(name, len(head), spans, end), b"".join(parts), "the arguments")


@dataclass(frozen=True, slots=True)
class EncodedOutcome:
    """An outcome whose value is still encoded.

    Args:
        outcome: The outcome without its value: `outcome.value` is None.
        value: The encoded value; None if the call failed.
    """

    outcome: Outcome
    value: ValueBytes | None = None

    @property
    def is_pickle(self) -> bool:
        """True if decoding the value can run code of the program."""
        return self.value is not None and self.value.is_pickle

    def decode_at_once(self) -> Outcome | None:
        """Return the outcome with its value, or None if decoding the value could take long.

        Runs no code of the program, and takes far less than 5 ms, so an event loop may call this.
        """
        if self.value is None:
            return self.outcome
        value = self.value.decode_at_once()
        return None if value is NOT_DECODED else self._with_value(value)

    def decode(self, expected: ResultFormat) -> Outcome:
        """Return the outcome with the decoded value. Call this only in the driver that asked for the value.

        If decoding fails, the outcome gets a `ValueNotReadableError` and the status `error`.

        Args:
            expected: The format that the driver asked for. `DATA` refuses a pickle. Decoding a pickle runs
                code that the program chose, on the calling thread and without a limit of time; local backends
                decode pickles on threads that they abandon after a while.
        """
        if self.value is None:
            return self.outcome
        try:
            value = self.value.decode(expected)
        except GigaexecError as error:
            return self.failed(error)
        return self._with_value(value)

    def failed(self, error: GigaexecError) -> Outcome:
        """Return the outcome of a call whose value could not be decoded."""
        return replace(self.outcome, status=error.status, error=error)

    def _with_value(self, value: Any) -> Outcome:
        outcome = self.outcome
        # Not with replace(): that takes as long as decoding a small value.
        return Outcome(
            outcome.status,
            value,
            outcome.error,
            outcome.output,
            outcome.metrics,
            outcome.queue_time_s,
            outcome.start_time_s,
            outcome.run_time_s,
            outcome.index,
            outcome.confinement,
        )
