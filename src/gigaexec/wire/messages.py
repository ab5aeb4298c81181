"""The records on a worker's channel, as bytes.

From the driver to a worker they are pickles: the driver is trusted. From a worker to the driver they are JSON
followed by the bytes of a small value, because a program can write to that channel as well; the driver reads
them field by field and believes nothing that it has not checked.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from gigaexec.calls import (
    ConfinementStep,
    ErrorKind,
    ExecutionMetrics,
    LimitHit,
    ValueLayout,
    WorkerError,
    WorkerResult,
)
from gigaexec.limits import Limits
from gigaexec.wire.frames import ProtocolError

_HEADER_LENGTH = struct.Struct("!I")
_METRICS_FIELDS = tuple(each.name for each in fields(ExecutionMetrics))
_MAX_NUMBER = 2**64

MAX_INLINE_BYTES = 64 * 1024
"""A larger value lies in a file, and is decoded on a thread of its own."""

# Bound here: programs replace `json.dumps` for types of their own, and must still get their answer out.
_encode_json = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class CallHeader:
    """A call as the worker gets it; its arguments follow in a frame of their own."""

    code: str
    function_name: str
    python_path: list[str]
    env: dict[str, str | None]
    spill_path: str
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    maps: tuple[ArgumentMap, ...] = ()


@dataclass(frozen=True, slots=True)
class ArgumentMap:
    """How the arguments refer to a file whose descriptor comes with the call.

    Args:
        head_bytes: Size of the pickle at its start.
        buffers: Offset and size of each buffer of the pickle.
        total_bytes: Size of the file.
        is_shared: Whether other calls map it, too. The one that is not holds the buffers of the arguments'
            own pickle.
    """

    head_bytes: int
    buffers: tuple[tuple[int, int], ...]
    total_bytes: int
    is_shared: bool


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A call as it came: `arguments` is the pickle, `descriptors` the open files it refers to."""

    header: CallHeader
    arguments: bytearray
    descriptors: list[int]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message.

    Args:
        problem: Why it cannot serve, else "".
        warnings: What to log.
        steps: The steps of isolation that were tried for it.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    steps: tuple[ConfinementStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Confined:
    """Sent by a confined worker before its program runs: what the sandbox consists of."""

    steps: tuple[ConfinementStep, ...]


Message = Ready | Confined | WorkerResult


def encode_message(message: Message) -> bytes:
    """Encode a record that a worker sends."""
    inline = b""
    if isinstance(message, WorkerResult):
        inline = message.inline_value or b""
        facts: dict[str, Any] = {"result": _result_as_json(message)}
    elif isinstance(message, Ready):
        facts = {
            "ready": {
                "problem": message.problem,
                "warnings": message.warnings,
                "steps": _steps_as_json(message.steps),
            }
        }
    else:
        facts = {"confined": _steps_as_json(message.steps)}
    # Escaped: lone surrogates, which error texts may hold, have no other form.
    header = _encode_json(facts).encode("ascii")
    return _HEADER_LENGTH.pack(len(header)) + header + inline


def decode_message(frame: bytes) -> Message:
    """Decode what came from a worker.

    Raises:
        ProtocolError: It is nothing that a worker sends.
    """
    try:
        (header_bytes,) = _HEADER_LENGTH.unpack_from(frame)
        start = _HEADER_LENGTH.size
        header, inline = frame[start : start + header_bytes], frame[start + header_bytes :]
        if len(header) != header_bytes:
            raise ProtocolError("a truncated header")
        ((kind, facts),) = json.loads(header).items()
        return _DECODERS[kind](facts, inline)
    except ProtocolError:
        raise
    except Exception as error:  # whatever the checks above did not think of must not end the driver
        raise ProtocolError(f"no message of a worker: {type(error).__name__}") from error


def _result_as_json(result: WorkerResult) -> dict[str, Any]:
    error, layout = result.error, result.layout
    return {
        "error": None
        if error is None
        else [error.stderr, error.returncode, error.kind, error.summary, _hit_as_json(error.hit)],
        "metrics": [getattr(result.metrics, name) for name in _METRICS_FIELDS],
        "layout": None
        if layout is None
        else [layout.format, layout.head_bytes, layout.buffers, layout.total_bytes],
        "is_inline": result.inline_value is not None,
        "spill_path": result.spill_path,
        "retire_reason": result.retire_reason,
        "file_number": result.file_number,
    }


def _steps_as_json(steps: tuple[ConfinementStep, ...]) -> list[list[Any]]:
    return [[step.name, step.held, step.detail] for step in steps]


def _hit_as_json(hit: LimitHit | None) -> list[Any] | None:
    return None if hit is None else [hit.name, hit.limit, hit.measured]


def _decode_ready(facts: Any, _: bytes) -> Ready:
    return Ready(
        _text(facts["problem"]),
        tuple(_text(each) for each in _list(facts["warnings"])),
        _steps(facts["steps"]),
    )


def _decode_confined(facts: Any, _: bytes) -> Confined:
    return Confined(_steps(facts))


def _decode_result(facts: Any, inline: bytes) -> WorkerResult:
    error = _error(facts["error"])
    layout = _layout(facts["layout"])
    if (error is None) == (layout is None):
        raise ProtocolError("a result must hold a value or an error")
    is_inline = _truth(facts["is_inline"])
    if is_inline and (layout is None or layout.total_bytes != len(inline)):
        raise ProtocolError("a value of another size than it says")
    if len(inline) > MAX_INLINE_BYTES:
        raise ProtocolError("a value that is too large to be inline")
    spill_path = facts["spill_path"]
    return WorkerResult(
        spill_path=None if spill_path is None else _text(spill_path),
        error=error,
        metrics=_metrics(facts["metrics"]),
        inline_value=inline if is_inline else None,
        layout=layout,
        retire_reason=_text(facts["retire_reason"]),
        file_number=None if facts["file_number"] is None else _count(facts["file_number"]),
    )


_DECODERS: dict[str, Callable[[Any, bytes], Message]] = {
    "ready": _decode_ready,
    "confined": _decode_confined,
    "result": _decode_result,
}


def _error(facts: Any) -> WorkerError | None:
    if facts is None:
        return None
    stderr, returncode, kind, summary, hit = _list(facts)
    if type(returncode) is not int or abs(returncode) >= _MAX_NUMBER:
        raise ProtocolError("a bad return code")
    return WorkerError(_text(stderr), returncode, ErrorKind(kind), _text(summary), _hit(hit))


def _hit(facts: Any) -> LimitHit | None:
    if facts is None:
        return None
    name, limit, measured = _list(facts)
    return LimitHit(_text(name), _amount(limit), None if measured is None else _amount(measured))


def _layout(facts: Any) -> ValueLayout | None:
    if facts is None:
        return None
    name, head_bytes, spans, total_bytes = _list(facts)
    total = _count(total_bytes)
    end = _count(head_bytes)
    buffers = []
    for span in _list(spans):
        offset, size = map(_count, _list(span))
        if offset < end:
            raise ProtocolError("buffers that overlap")
        end = offset + size
        buffers.append((offset, size))
    if end > total:
        raise ProtocolError("a part of the value beyond its end")
    return ValueLayout(_text(name), head_bytes, tuple(buffers), total)


def _metrics(facts: Any) -> ExecutionMetrics:
    values = dict(zip(_METRICS_FIELDS, _list(facts), strict=True))
    for name, value in values.items():
        if name == "seed":
            values[name] = None if value is None else _count(value)
        elif name in ("worker_id", "node_id"):
            _text(value)
        else:
            _amount(value)
            if not name.endswith("_s"):
                _count(value)
    return ExecutionMetrics(**values)


def _steps(facts: Any) -> tuple[ConfinementStep, ...]:
    steps = []
    for each in _list(facts):
        name, held, detail = _list(each)
        steps.append(ConfinementStep(_text(name), _truth(held), _text(detail)))
    return tuple(steps)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ProtocolError("no list where there should be one")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ProtocolError("no text where there should be some")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ProtocolError("no truth value where there should be one")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise ProtocolError("no count where there should be one")
    return value


def _amount(value: Any) -> float:
    # The comparison alone also sorts out infinity and NaN; math.isfinite() raises at an int of 400 digits.
    if type(value) not in (int, float) or not 0 <= value < _MAX_NUMBER:
        raise ProtocolError("no amount where there should be one")
    amount: float = value
    return amount
