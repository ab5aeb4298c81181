"""One outcome, for a person and for a program."""

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


def value_text(value: object) -> str:
    """A value as JSON where JSON holds it, else as its repr without control characters."""
    return json_line(value) if is_json(value) else block(safe_repr(value))


def show_outcome(outcome: Outcome) -> None:
    """Print the value on stdout, or why there is none on stderr, with what the program wrote."""
    if outcome.error is None:
        _write_to_stderr(outcome.output.as_report())
        print(value_text(outcome.value))
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    heading, _, rest = str(outcome.error).strip().partition("\n")
    console.print(
        Text(outcome.status.value.replace("_", " "), style="bold red"), Text(one_line(heading)), sep=": "
    )
    if rest.strip() != heading:
        _write_to_stderr(rest)
    if outcome.output and outcome.output.as_report().strip() not in rest:
        _write_to_stderr(outcome.output.as_report())


def outcome_as_json(outcome: Outcome) -> str:
    """Everything known of one outcome as one line of JSON.

    `value` is there if JSON holds the value, else `value_repr`.
    """
    known: dict[str, Any] = {"status": outcome.status.value}
    if outcome.ok:
        holds = is_json(outcome.value)
        known["value" if holds else "value_repr"] = outcome.value if holds else safe_repr(outcome.value)
    known |= {
        "error": _error_as_dict(outcome.error) if outcome.error is not None else None,
        "output": asdict(outcome.output),
        "metrics": asdict(outcome.metrics) if outcome.metrics is not None else None,
        "queue_time_s": outcome.queue_time_s,
        "start_time_s": outcome.start_time_s,
        "run_time_s": outcome.run_time_s,
        "confinement": [asdict(step) for step in outcome.confinement],
    }
    return json_line(known)


def _error_as_dict(error: Exception) -> dict[str, Any]:
    known: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error.args[0]) if error.args else "",
    }
    if isinstance(error, ExecRunnerError):
        known |= {"stderr": error.stderr, "returncode": error.returncode}
    if isinstance(error, LimitExceededError):
        known["hit"] = asdict(error.hit) if error.hit is not None else None
    return known


def _write_to_stderr(text: str) -> None:
    if text.strip():
        print(block(text.rstrip()), file=sys.stderr)
