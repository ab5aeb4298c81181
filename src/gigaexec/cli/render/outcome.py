"""Show the outcome of one call as text or as JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from gigaexec.calls import Outcome
from gigaexec.errors import ExecRunnerError, LimitExceededError
from gigaexec.untrusted.json_text import is_json, json_line, safe_repr
from gigaexec.untrusted.log_text import block, one_line


def show_outcome(outcome: Outcome) -> None:
    """Print the value to stdout, or the error to stderr. The program's output goes to stderr too."""
    if outcome.error is None:
        _write_to_stderr(outcome.output.as_report())
        print(_value_text(outcome.value))
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    heading, _, rest = str(outcome.error).strip().partition("\n")
    status = outcome.status.value.replace("_", " ")
    # A heading such as "timed out after 5 s" already begins with the status.
    text = Text(one_line(heading if heading.startswith(status) else f"{status}: {heading}"))
    text.stylize("bold red", 0, len(status))
    console.print(text)
    if rest.strip() != heading:
        _write_to_stderr(rest)
    if outcome.output and outcome.output.as_report().strip() not in rest:
        _write_to_stderr(outcome.output.as_report())


def outcome_as_json(outcome: Outcome) -> str:
    """Return an outcome as one line of JSON.

    If the call returned, the key `value` contains the value. If JSON cannot represent the value, the key
    `value_repr` contains its repr instead.
    """
    fields: dict[str, Any] = {"status": outcome.status.value}
    if outcome.ok:
        is_exact = is_json(outcome.value)
        fields["value" if is_exact else "value_repr"] = (
            outcome.value if is_exact else safe_repr(outcome.value)
        )
    fields |= {
        "error": _error_as_dict(outcome.error) if outcome.error is not None else None,
        "output": asdict(outcome.output),
        "metrics": asdict(outcome.metrics) if outcome.metrics is not None else None,
        "queue_time_s": outcome.queue_time_s,
        "start_time_s": outcome.start_time_s,
        "run_time_s": outcome.run_time_s,
        "confinement": [asdict(step) for step in outcome.confinement],
    }
    return json_line(fields)


def _value_text(value: object) -> str:
    return json_line(value) if is_json(value) else block(safe_repr(value))


def _error_as_dict(error: Exception) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error.args[0]) if error.args else "",
    }
    if isinstance(error, ExecRunnerError):
        fields |= {"stderr": error.stderr, "returncode": error.returncode}
    if isinstance(error, LimitExceededError):
        fields["hit"] = asdict(error.hit) if error.hit is not None else None
    return fields


def _write_to_stderr(text: str) -> None:
    if text.strip():
        print(block(text.rstrip()), file=sys.stderr)
