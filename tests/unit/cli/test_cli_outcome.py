"""R92: the JSON of an outcome."""

from __future__ import annotations

import json

from gigaexec import Outcome, WorkerCrashedError
from gigaexec.cli.render.outcome import outcome_as_json


def test_an_unknown_exit_code_is_null() -> None:
    error = WorkerCrashedError("the worker process ended")
    record = json.loads(outcome_as_json(Outcome(error.status, error=error)))
    assert record["error"]["returncode"] is None
