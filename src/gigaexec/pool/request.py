"""A checked call with its encoded arguments, on its way into a pool."""

from __future__ import annotations

import os
import pickle

from gigaexec.calls import WorkerCall
from gigaexec.checks import require_seconds
from gigaexec.errors import InvalidCallError
from gigaexec.limits import Limits
from gigaexec.wire.arguments_out import encode_arguments
from gigaexec.wire.frames import frame_prefix
from gigaexec.wire.messages import CallHeader


class Request:
    """A call and its limits, checked, its arguments pickled."""

    def __init__(
        self, call: WorkerCall, deadline_s: float, queue_timeout_s: float | None, limits: Limits
    ) -> None:
        if not isinstance(call, WorkerCall):
            raise InvalidCallError(f"call must be a WorkerCall, not {type(call).__name__}")
        self.call = call
        self.deadline_s = require_seconds("deadline_s", deadline_s)
        self.queue_timeout_s = (
            None
            if queue_timeout_s is None
            else require_seconds("queue_timeout_s", queue_timeout_s, allow_zero=True)
        )
        self.limits = limits
        self._python_path = [_absolute(entry) for entry in call.python_path]
        self.arguments = encode_arguments(call)

    def frames(self, result_place: str) -> list[bytes]:
        call, arguments = self.call, self.arguments
        header = pickle.dumps(
            CallHeader(
                call.code,
                call.function_name,
                self._python_path,
                call.env,
                result_place,
                call.seed,
                self.limits,
                arguments.maps,
            ),
            protocol=5,
        )
        return [
            frame_prefix(len(header)) + header,
            frame_prefix(len(arguments.pickled)),
            arguments.pickled,
        ]


def _absolute(folder: str) -> str:
    # A relative folder is relative to the caller's current folder, not to the worker's.
    try:
        return os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    except FileNotFoundError as error:
        raise InvalidCallError(
            f"python_path holds the relative folder {folder!r}, and this process's current folder is gone"
        ) from error
