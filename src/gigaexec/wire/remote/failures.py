"""Encode errors of gigaexec as records, and decode records. Classes of other packages are never looked up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from gigaexec import errors
from gigaexec.errors import GigaexecError
from gigaexec.measured import CapturedOutput, ExecutionMetrics, LimitHit
from gigaexec.wire.checks import (
    ProtocolError,
    require_amount,
    require_bool,
    require_int,
    require_str,
    require_time_limit,
)
from gigaexec.wire.remote.fields import Fields, list_of, nullable

_CLASSES: dict[str, type[GigaexecError]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, GigaexecError)
}


def failure_as_record(error: GigaexecError) -> dict[str, Any]:
    """Return the record of an error, without the cause and the notes of the error."""
    kind = type(error)
    names = [base.__name__ for base in kind.__mro__ if _CLASSES.get(base.__name__) is base]
    record: dict[str, Any] = {
        # The most specific class first. A receiver uses the first class in this list that it knows.
        "classes": names,
        "message": str(error.args[0]) if error.args else "",
        # Output and metrics are sent only once, in the outcome's own fields.
        "has_output": getattr(error, "output", None) is not None,
        "has_metrics": getattr(error, "metrics", None) is not None,
    }
    for name in _fields_of(_CLASSES[names[0]]):
        value = getattr(error, name)
        record[name] = hit_as_record(value) if isinstance(value, LimitHit) else value
    return record


def failure_from_record(
    fields: Fields, output: CapturedOutput, metrics: ExecutionMetrics | None
) -> GigaexecError:
    """Return the error that a record describes.

    Args:
        fields: The record.
        output: Captured output of the outcome with this error.
        metrics: Metrics of the outcome with this error.

    Raises:
        ProtocolError: The record is not valid, or contains no class of gigaexec.errors.
    """
    names = fields.read("classes", list_of(require_str))
    kind = next((_CLASSES[name] for name in names if name in _CLASSES), None)
    if kind is None:
        raise ProtocolError(f"error.classes: expected a class of gigaexec.errors, got {names!r:.80}")
    values: dict[str, Any] = {
        name: fields.read(name, _CHECKS[name]) for name in _fields_of(kind) if name in fields
    }
    if fields.read("has_output", require_bool):
        values["output"] = output
    if fields.read("has_metrics", require_bool):
        values["metrics"] = metrics
    return kind(fields.read("message", require_str), **values)


def hit_as_record(hit: LimitHit) -> dict[str, Any]:
    """Return the record of a `LimitHit`."""
    return {"name": hit.name, "limit": hit.limit, "measured": hit.measured}


def _require_hit(value: Any) -> LimitHit:
    fields = Fields("hit", value)
    return LimitHit(
        fields.read("name", require_str),
        fields.read("limit", require_amount),
        fields.read_if_any("measured", require_amount),
    )


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "stderr": require_str,
    "returncode": nullable(require_int),
    "signal_name": nullable(require_str),
    "hit": nullable(_require_hit),
    "deadline_s": require_time_limit,
    "run_time_s": require_amount,
}
"""A check for each keyword argument of the errors in gigaexec.errors, except `output` and `metrics`."""


def _fields_of(kind: type[GigaexecError]) -> tuple[str, ...]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return tuple(
        each.name
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and each.name not in ("output", "metrics")
    )
