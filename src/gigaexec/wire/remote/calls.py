"""`EncodedCall` -> bytes -> `EncodedCall`."""

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
    """Return the message of a call in parts, to be sent one after the other.

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
        "deadline_s": encoded.deadline_s,
        "queue_timeout_s": encoded.queue_timeout_s,
        "limits": {name: limit for name, limit in limits.items() if limit is not None},
        "arguments": layout_as_record(encoded.arguments.layout),
    }
    return encode_message(header, encoded.arguments)


def decode_call(
    message: Message, *, allow_pickle: bool = False, max_bytes: int = DEFAULT_MAX_BYTES
) -> EncodedCall:
    """Decode the message of a call. Its arguments stay encoded and refer to the message's memory.

    Nothing in the message is run or imported. Memory is at most four times the size of the header, and 400 MB
    for headers of very many entries.

    Args:
        message: The whole message.
        allow_pickle: True to accept pickled arguments. They run code of the sender in the worker, where its
            program runs too, but before the program is loaded.
        max_bytes: Largest size to accept.

    Raises:
        RemoteFormatError: The bytes are not a call of a version that this gigaexec reads, hold a limit that
            it does not know, exceed `max_bytes`, or hold a pickle that is not allowed.
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
            ),
            arguments,
            fields.read("deadline_s", require_time_limit),
            fields.read_if_any("queue_timeout_s", require_time_limit),
            _read_limits(fields.section("limits")),
        )

    return decode_message(message, max_bytes, read)


def require_kind(fields: Fields, expected: str) -> None:
    """Raise ProtocolError for a message of another kind."""
    kind = fields.read("kind", require_str)
    if kind != expected:
        raise ProtocolError(f"expected a message of kind {expected!r}, got {kind!r:.80}")


def _read_environment(fields: Fields) -> dict[str, str | None]:
    check = nullable(require_str)
    return {name: fields.read(name, check) for name, _ in fields.items()}


def _read_limits(fields: Fields) -> Limits:
    # Unlike other fields an unknown limit is not skipped: the sender relies on every limit being enforced.
    unknown = [name for name, _ in fields.items() if name not in _LIMIT_NAMES]
    if unknown:
        raise ProtocolError(f"limits.{unknown[0]:.80} is not a limit that this gigaexec knows")
    return Limits(**{name: fields.read(name, require_amount) for name, _ in fields.items()})  # type: ignore[arg-type]
