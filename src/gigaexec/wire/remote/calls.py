"""Encode an `EncodedCall` as a message of bytes, and decode such a message."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from typing import Any

from gigaexec.calls import WorkerCall
from gigaexec.limits import Limits
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.checks import ProtocolError, require_amount, require_count, require_str, require_time_limit
from gigaexec.wire.encoded import EncodedCall
from gigaexec.wire.remote.fields import Fields, layout_as_record, list_of, nullable, read_value
from gigaexec.wire.remote.message import DEFAULT_MAX_BYTES, Message, decode_message, encode_message

_KIND = "call"
_LIMIT_NAMES = frozenset(each.name for each in dataclass_fields(Limits))


def encode_call(encoded: EncodedCall) -> list[Message]:
    """Return the message of a call as parts. Send the parts one after the other.

    Raises:
        ValueNotDataError: `env` and `python_path` together have more than a million entries.
    """
    call = encoded.call
    limits = {name: getattr(encoded.limits, name) for name in sorted(_LIMIT_NAMES)}
    header: dict[str, Any] = {
        "kind": _KIND,
        "code": call.code,
        "function_name": call.function_name,
        "python_path": call.python_path,
        "env": call.env,
        "seed": call.seed,
        "file": call.file,
        "deadline_s": encoded.deadline_s,
        "queue_timeout_s": encoded.queue_timeout_s,
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
        "arguments": layout_as_record(encoded.arguments.layout),
    }
    return encode_message(header, encoded.arguments)


def decode_call(
    message: Message, *, allow_pickle: bool = False, max_bytes: int = DEFAULT_MAX_BYTES
) -> EncodedCall:
    """Decode the message of a call. The arguments stay encoded, and use the memory of `message`.

    Decoding runs and imports nothing from the message. Memory: at most 4 bytes per byte of the header, plus
    400 MB for a header with the maximum number of entries.

    Args:
        message: The whole message.
        allow_pickle: True to accept pickled arguments. Unpickling runs the sender's code in the worker,
            before the program is loaded.
        max_bytes: Maximum size of the message.

    Raises:
        RemoteFormatError: The message is not a valid call, has an unsupported version, contains an unknown
            limit, exceeds `max_bytes`, or contains pickled arguments that are not allowed.
    """

    def read(fields: Fields, content: memoryview) -> EncodedCall:
        require_kind(fields, _KIND)
        arguments = read_value(fields.section("arguments"), content, "the arguments")
        accepted = {ResultFormat.DATA, ResultFormat.PICKLE} if allow_pickle else {ResultFormat.DATA}
        if arguments.layout.format not in accepted:
            raise ProtocolError(
                f"the arguments have the format {arguments.layout.format!r:.80}; accepted: "
                f"{', '.join(sorted(accepted))}"
            )
        return EncodedCall(
            WorkerCall(
                fields.read("code", require_str),
                fields.read("function_name", require_str),
                python_path=fields.read("python_path", list_of(require_str)),
                env=_read_environment(fields.section("env")),
                seed=fields.read_if_any("seed", require_count),
                file=fields.read_if_any("file", require_str),
            ),
            arguments,
            fields.read("deadline_s", require_time_limit),
            fields.read_if_any("queue_timeout_s", require_time_limit),
            _read_limits(fields.section("limits")),
        )

    return decode_message(message, max_bytes, read)


def require_kind(fields: Fields, expected: str) -> None:
    """Raise ProtocolError if the message is not of the expected kind."""
    kind = fields.read("kind", require_str)
    if kind != expected:
        raise ProtocolError(f"expected a message of kind {expected!r}, got {kind!r:.80}")


def _read_environment(fields: Fields) -> dict[str, str | None]:
    check = nullable(require_str)
    return {name: fields.read(name, check) for name, _ in fields.items()}


def _read_limits(fields: Fields) -> Limits:
    # Other unknown fields are ignored. An unknown limit is refused, because the sender relies on all limits.
    unknown = [name for name, _ in fields.items() if name not in _LIMIT_NAMES]
    if unknown:
        raise ProtocolError(f"limits.{unknown[0]:.80} is not a limit that this gigaexec knows")
    return Limits(**{name: fields.read(name, require_amount) for name, _ in fields.items()})  # type: ignore[arg-type]
