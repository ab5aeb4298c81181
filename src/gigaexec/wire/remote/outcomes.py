"""Encode an `EncodedOutcome` as a message of bytes, and decode such a message."""

from __future__ import annotations

from dataclasses import asdict, fields as dataclass_fields
from typing import Any

from gigaexec.calls import Outcome, OutcomeStatus
from gigaexec.measured import CapturedOutput, ConfinementStep, ExecutionMetrics
from gigaexec.wire.checks import (
    ProtocolError,
    require_amount,
    require_bool,
    require_count,
    require_list,
    require_metrics,
    require_str,
)
from gigaexec.wire.encoded import EncodedOutcome
from gigaexec.wire.remote.calls import require_kind
from gigaexec.wire.remote.failures import failure_as_record, failure_from_record
from gigaexec.wire.remote.fields import Fields, layout_as_record, read_value
from gigaexec.wire.remote.message import DEFAULT_MAX_BYTES, Message, decode_message, encode_message

_KIND = "outcome"
_METRICS_NAMES = tuple(each.name for each in dataclass_fields(ExecutionMetrics))


def encode_outcome(encoded: EncodedOutcome) -> list[Message]:
    """Return the message of an outcome as parts. Send the parts one after the other.

    The last part is the value itself, which may be a map of a large file. Send this part before the map is
    closed.

    Raises:
        ValueError: The outcome is ok and has no encoded value, or is not ok and has a value.
    """
    outcome, value = encoded.outcome, encoded.value
    if outcome.ok != (value is not None):
        raise ValueError(
            f"an outcome with status {outcome.status} must {'' if outcome.ok else 'not '}have a value"
        )
    header: dict[str, Any] = {
        "kind": _KIND,
        "status": str(outcome.status),
        "value": None if value is None else layout_as_record(value.layout),
        "error": None if outcome.error is None else failure_as_record(outcome.error),
        "output": asdict(outcome.output),
        "metrics": None if outcome.metrics is None else asdict(outcome.metrics),
        "queue_time_s": outcome.queue_time_s,
        "start_time_s": outcome.start_time_s,
        "run_time_s": outcome.run_time_s,
        "index": outcome.index,
        "confinement": [asdict(step) for step in outcome.confinement],
    }
    return encode_message(header, value)


def decode_outcome(message: Message, *, max_bytes: int = DEFAULT_MAX_BYTES) -> EncodedOutcome:
    """Decode the message of an outcome. The value stays encoded, and uses the memory of `message`.

    Decoding runs and imports nothing from the message. Memory: at most 4 bytes per byte of the header, plus
    400 MB for a header with the maximum number of entries.

    Args:
        message: The whole message.
        max_bytes: Maximum size of the message.

    Raises:
        RemoteFormatError: The message is not a valid outcome, has an unsupported version, or exceeds
            `max_bytes`.
    """

    def read(fields: Fields, content: memoryview) -> EncodedOutcome:
        require_kind(fields, _KIND)
        output = _read_output(fields.section("output"))
        metrics_fields = fields.section_if_any("metrics")
        metrics = None if metrics_fields is None else require_metrics(metrics_fields.known(_METRICS_NAMES))
        error_fields = fields.section_if_any("error")
        error = None if error_fields is None else failure_from_record(error_fields, output, metrics)
        status = fields.read("status", require_str)
        layout = fields.section_if_any("value")
        if len({status == OutcomeStatus.OK, error is None, layout is not None}) != 1:
            raise ProtocolError(
                "expected the status ok with a value and no error, or another status with an error and no "
                f"value; got the status {status!r:.40} with {'no' if error is None else 'an'} error and "
                f"{'no' if layout is None else 'a'} value"
            )
        if layout is None and content.nbytes:
            raise ProtocolError(f"expected no bytes after an outcome without a value, got {content.nbytes}")
        outcome = Outcome(
            # From the error's class, not from the field `status`: a newer sender may use a status that is
            # unknown here.
            status=OutcomeStatus.OK if error is None else error.status,
            error=error,
            output=output,
            metrics=metrics,
            queue_time_s=fields.read("queue_time_s", require_amount),
            start_time_s=fields.read("start_time_s", require_amount),
            run_time_s=fields.read("run_time_s", require_amount),
            index=fields.read("index", require_count),
            confinement=tuple(map(_step, fields.read("confinement", require_list))),
        )
        return EncodedOutcome(outcome, None if layout is None else read_value(layout, content, "the result"))

    return decode_message(message, max_bytes, read)


def _read_output(fields: Fields) -> CapturedOutput:
    return CapturedOutput(
        fields.read("stdout", require_str),
        fields.read("stderr", require_str),
        fields.read("stdout_bytes", require_count),
        fields.read("stderr_bytes", require_count),
    )


def _step(record: Any) -> ConfinementStep:
    fields = Fields("confinement", record)
    return ConfinementStep(
        fields.read("name", require_str),
        fields.read("held", require_bool),
        fields.read("detail", require_str),
    )
