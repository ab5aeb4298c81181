"""The records that driver and worker exchange over a channel, as bytes in frames.

A frame is a length of 8 bytes, big-endian, then that number of bytes.

The driver sends pickles, because workers trust the driver. A worker sends JSON, then the bytes of a small
value. A program can write to the worker's channel too, so the driver does not trust these messages: it checks
each field before using the field.
"""

from __future__ import annotations

import json
import os
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
from gigaexec.wire.checks import (
    ProtocolError,
    require_amount,
    require_bool,
    require_count,
    require_int,
    require_layout,
    require_list,
    require_metrics,
    require_str,
)

LENGTH_PREFIX = struct.Struct("!Q")

MAX_REPLY_BYTES = 4 * 2**20
"""Maximum size of a frame from a worker. Inline values and error texts have lower limits."""

_HEADER_LENGTH = struct.Struct("!I")
_METRICS_FIELDS = tuple(each.name for each in fields(ExecutionMetrics))

MAX_INLINE_BYTES = 64 * 1024
"""Maximum size of an inline value.

A larger value is in a file, and is decoded on another thread than the event loop's.
"""

# Created at import, because a program may replace `json.dumps`. Answers must not use the replacement.
_encode_json = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class CallHeader:
    """A call without its arguments, as sent to the worker. The arguments follow in a second frame.

    Args:
        spill_path: Path of the file for a large result, or of the folder for an unnamed (unlinked) file.
        program_folder: Folder in which the worker writes the program's text for child processes; "" if the
            worker uses the scratch folder of the call.
        file: Absolute path of the file that the code came from; None if the code is from no file.
        maps: Layouts of the files that the pickle of the arguments refers to.
        arguments: Layout of the second frame if another machine encoded the arguments; None if the second
            frame is one pickle.
    """

    code: str
    function_name: str
    python_path: list[str]
    env: dict[str, str | None]
    spill_path: str
    program_folder: str = ""
    file: str | None = None
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    maps: tuple[ArgumentMap, ...] = ()
    arguments: ValueLayout | None = None

    @property
    def import_folders(self) -> list[str]:
        """The folders of python_path, then the folder of the file that the code came from."""
        return self.python_path if self.file is None else [*self.python_path, os.path.dirname(self.file)]  # noqa: PTH120 - runs for every call


@dataclass(frozen=True, slots=True)
class ArgumentMap:
    """The layout of a file that the arguments refer to. The descriptor of the file is sent with the call.

    Args:
        head_bytes: Size of the pickle of a shared argument, at the start of the file. 0 if the file belongs
            to this call alone: then the file contains only buffers of the arguments' pickle.
        buffers: Offset and size of each buffer in the file.
        total_bytes: Size of the file.
        is_shared: True if other calls map the file too.
    """

    head_bytes: int
    buffers: tuple[tuple[int, int], ...]
    total_bytes: int
    is_shared: bool


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """A received call.

    `arguments` contains the encoded args and kwargs; `descriptors` are the open files that they refer to.
    """

    header: CallHeader
    arguments: bytearray
    descriptors: list[int]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first message.

    Args:
        problem: The reason why the worker cannot run calls; "" if there is no problem.
        warnings: Texts for the driver to log.
        steps: The isolation steps that were tried for this worker.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    steps: tuple[ConfinementStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Confined:
    """The sandbox steps of a confined worker, sent before the program runs."""

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
    # JSON as ASCII with escapes: error texts may contain lone surrogates, which UTF-8 cannot encode.
    header = _encode_json(facts).encode("ascii")
    return _HEADER_LENGTH.pack(len(header)) + header + inline


def decode_message(frame: bytes) -> Message:
    """Decode a frame from a worker.

    Raises:
        ProtocolError: The frame is not a worker's message.
    """
    try:
        (header_bytes,) = _HEADER_LENGTH.unpack_from(frame)
        start = _HEADER_LENGTH.size
        header, inline = frame[start : start + header_bytes], frame[start + header_bytes :]
        if len(header) != header_bytes:
            raise ProtocolError(
                f"a frame declares a header of {header_bytes} bytes, but only {len(header)} follow"
            )
        ((kind, facts),) = json.loads(header).items()
        return _DECODERS[kind](facts, inline)
    except ProtocolError:
        raise
    except Exception as error:  # a malformed frame must not end the driver
        raise ProtocolError(f"a frame is not a worker's message: {type(error).__name__}") from error


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
        "warning": result.warning,
    }


def _steps_as_json(steps: tuple[ConfinementStep, ...]) -> list[list[Any]]:
    return [[step.name, step.held, step.detail] for step in steps]


def _hit_as_json(hit: LimitHit | None) -> list[Any] | None:
    return None if hit is None else [hit.name, hit.limit, hit.measured]


def _decode_ready(facts: Any, _: bytes) -> Ready:
    return Ready(
        require_str(facts["problem"]),
        tuple(require_str(each) for each in require_list(facts["warnings"])),
        _steps(facts["steps"]),
    )


def _decode_confined(facts: Any, _: bytes) -> Confined:
    return Confined(_steps(facts))


def _decode_result(facts: Any, inline: bytes) -> WorkerResult:
    error = _error(facts["error"])
    layout = _layout(facts["layout"])
    if (error is None) == (layout is None):
        found = "neither" if error is None else "both"
        raise ProtocolError(f"expected a result with either a value or an error, got {found}")
    is_inline = require_bool(facts["is_inline"])
    if is_inline and layout is None:
        raise ProtocolError("expected a result with an error to have no inline value")
    if is_inline and layout is not None and layout.total_bytes != len(inline):
        raise ProtocolError(
            f"an inline value has {len(inline)} bytes, but its layout declares {layout.total_bytes} bytes"
        )
    if len(inline) > MAX_INLINE_BYTES:
        raise ProtocolError(f"an inline value has {len(inline)} bytes; the limit is {MAX_INLINE_BYTES} bytes")
    spill_path = facts["spill_path"]
    return WorkerResult(
        spill_path=None if spill_path is None else require_str(spill_path),
        error=error,
        metrics=_metrics(facts["metrics"]),
        inline_value=inline if is_inline else None,
        layout=layout,
        retire_reason=require_str(facts["retire_reason"]),
        file_number=None if facts["file_number"] is None else require_count(facts["file_number"]),
        warning=require_str(facts["warning"]),
    )


_DECODERS: dict[str, Callable[[Any, bytes], Message]] = {
    "ready": _decode_ready,
    "confined": _decode_confined,
    "result": _decode_result,
}


def _error(facts: Any) -> WorkerError | None:
    if facts is None:
        return None
    stderr, returncode, kind, summary, hit = require_list(facts)
    return WorkerError(
        require_str(stderr), require_int(returncode), ErrorKind(kind), require_str(summary), _hit(hit)
    )


def _hit(facts: Any) -> LimitHit | None:
    if facts is None:
        return None
    name, limit, measured = require_list(facts)
    return LimitHit(
        require_str(name), require_amount(limit), None if measured is None else require_amount(measured)
    )


def _layout(facts: Any) -> ValueLayout | None:
    if facts is None:
        return None
    name, head_bytes, spans, total_bytes = require_list(facts)
    return require_layout(name, head_bytes, spans, total_bytes)


def _metrics(facts: Any) -> ExecutionMetrics:
    return require_metrics(dict(zip(_METRICS_FIELDS, require_list(facts), strict=True)))


def _steps(facts: Any) -> tuple[ConfinementStep, ...]:
    steps = []
    for each in require_list(facts):
        name, held, detail = require_list(each)
        steps.append(ConfinementStep(require_str(name), require_bool(held), require_str(detail)))
    return tuple(steps)


def frame_prefix(payload_bytes: int) -> bytes:
    """Return the length prefix of a frame with `payload_bytes` bytes."""
    return LENGTH_PREFIX.pack(payload_bytes)


class FrameDecoder:
    """Splits a stream of bytes into frames, for a reader that must not block."""

    def __init__(self, max_frame_bytes: int = MAX_REPLY_BYTES) -> None:
        self._buffer = bytearray()
        self._max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Append received bytes and return the frames that are now complete.

        Raises:
            ProtocolError: A frame declares a length above the limit.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= LENGTH_PREFIX.size:
            (length,) = LENGTH_PREFIX.unpack_from(self._buffer)
            if length > self._max_frame_bytes:
                raise ProtocolError(
                    f"a frame declares {length} bytes; the limit is {self._max_frame_bytes} bytes"
                )
            end = LENGTH_PREFIX.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[LENGTH_PREFIX.size : end]))
            del self._buffer[:end]
        return frames
