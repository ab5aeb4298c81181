"""A checked call with its encoded arguments, ready for a pool."""

from __future__ import annotations

import pickle

from gigaexec.calls import WorkerCall
from gigaexec.checks import require_seconds
from gigaexec.errors import InvalidCallError
from gigaexec.limits import Limits
from gigaexec.wire.arguments_out import EncodedArguments, encode_arguments
from gigaexec.wire.encoded import EncodedCall, absolute_folder
from gigaexec.wire.frames import frame_prefix
from gigaexec.wire.messages import CallHeader


class Request:
    """A call, its deadlines and its limits, checked, with encoded arguments.

    Args:
        call: The call.
        deadline_s: Seconds that the call may run.
        queue_timeout_s: Seconds that the call may wait for a worker; None for no limit.
        limits: Limits of the call.
        arguments: The encoded arguments if another machine encoded them; None pickles those of the call.

    Raises:
        InvalidCallError: `call` is not a WorkerCall, or an argument cannot be pickled.
        ConfigurationError: A deadline is out of range.
        InfrastructureError: There is no memory for a large argument.
    """

    def __init__(
        self,
        call: WorkerCall,
        deadline_s: float,
        queue_timeout_s: float | None,
        limits: Limits,
        arguments: EncodedArguments | None = None,
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
        self._python_path = [absolute_folder(entry) for entry in call.python_path]
        self.arguments = arguments if arguments is not None else encode_arguments(call)

    @classmethod
    def from_encoded(cls, encoded: EncodedCall, limits: Limits) -> Request:
        """Make a request of a call whose arguments are encoded. They are passed on as they are.

        Args:
            encoded: The call.
            limits: The call's own limits and those of the backend.

        Raises:
            ConfigurationError: A deadline is out of range.
        """
        value = encoded.arguments
        arguments = EncodedArguments(memoryview(value.contents), layout=value.layout)
        return cls(encoded.call, encoded.deadline_s, encoded.queue_timeout_s, limits, arguments)

    def frames(self, result_place: str) -> list[bytes | memoryview]:
        """Return the bytes to send to a worker.

        Args:
            result_place: Path of the file for a large result, or folder for a file without a name.
        """
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
                arguments.layout,
            ),
            protocol=5,
        )
        return [
            frame_prefix(len(header)) + header,
            frame_prefix(len(arguments.contents)),
            arguments.contents,
        ]
