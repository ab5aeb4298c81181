"""Checks of fields that an untrusted process sent. A check returns the field, or raises `ProtocolError`."""

from __future__ import annotations

from typing import Any

from gigaexec.calls import ExecutionMetrics, ValueLayout

_MAX_NUMBER = 2**64


class ProtocolError(Exception):
    """The other side sent bytes that the protocol does not allow."""


def require_list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ProtocolError(f"expected a list, got {type(value).__name__}")
    return value


def require_str(value: Any) -> str:
    if type(value) is not str:
        raise ProtocolError(f"expected a str, got {type(value).__name__}")
    return value


def require_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ProtocolError(f"expected a bool, got {type(value).__name__}")
    return value


def require_int(value: Any) -> int:
    """Return the value if it is an int between -2**64 and 2**64, both excluded."""
    if type(value) is not int or abs(value) >= _MAX_NUMBER:
        raise ProtocolError(f"expected an int of at most 64 bits, got {_shown(value)}")
    return value


def require_count(value: Any) -> int:
    """Return the value if it is an int from 0 to 2**64 - 1."""
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise ProtocolError(f"expected an int from 0 to 2**64 - 1, got {_shown(value)}")
    return value


def require_amount(value: Any) -> float:
    """Return the value if it is an int or a float, at least 0 and below 2**64."""
    # The comparison also refuses infinity and NaN. math.isfinite() would raise for an int of 400 digits.
    if type(value) not in (int, float) or not 0 <= value < _MAX_NUMBER:
        raise ProtocolError(f"expected a number from 0 to 2**64, got {_shown(value)}")
    amount: float = value
    return amount


def require_time_limit(value: Any) -> float:
    """Return the value if it is an int or a float from 0 to infinity. Infinity means no limit."""
    if type(value) not in (int, float) or not value >= 0:  # refuses NaN too
        raise ProtocolError(f"expected a number of seconds, at least 0, got {_shown(value)}")
    limit: float = value
    return limit


def require_layout(name: Any, head_bytes: Any, spans: Any, total_bytes: Any) -> ValueLayout:
    """Return a `ValueLayout` if its parts do not overlap, and end within `total_bytes`."""
    total = require_count(total_bytes)
    end = require_count(head_bytes)
    buffers = []
    for span in require_list(spans):
        if len(require_list(span)) != 2:
            raise ProtocolError(f"expected the offset and the size of a buffer, got {len(span)} items")
        offset, size = map(require_count, span)
        if offset < end:
            raise ProtocolError(
                f"a buffer starts at byte {offset}, before the end of the previous part at byte {end}"
            )
        end = offset + size
        buffers.append((offset, size))
    if end > total:
        raise ProtocolError(f"the last part ends at byte {end}, after the end of the value at byte {total}")
    return ValueLayout(require_str(name), head_bytes, tuple(buffers), total)


def require_metrics(fields: dict[str, Any]) -> ExecutionMetrics:
    """Return the `ExecutionMetrics` with these fields. Fields without a default must be present."""
    for name, value in fields.items():
        if name in ("worker_id", "node_id"):
            require_str(value)
        elif name.endswith("_s"):
            require_amount(value)
        elif name != "seed" or value is not None:
            require_count(value)
    return ExecutionMetrics(**fields)


def _shown(value: Any) -> str:
    # A huge int is not shown: converting it to text may take long, or raise ValueError.
    if type(value) is int and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    return f"{value}" if type(value) in (int, float) else type(value).__name__
