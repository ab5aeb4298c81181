"""R149: the log names a death or a shortage in one line; the traceback is logged at level DEBUG."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from gigaexec import ForkserverBackend, LokyBackend, OutcomeStatus, WorkerCall, WorkerConfig
from tests.conftest import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: ForkserverBackend")

WAITS = """
import os, time
def f(path):
    open(path, "w").close()
    time.sleep(600)
"""
ONE = WorkerCall("def f():\n    return 1", "f")


@contextmanager
def _closing(backend: Any) -> Iterator[Any]:
    try:
        yield backend
    finally:
        backend.shutdown_now(wait=True)


def _long_records(records: list[logging.LogRecord]) -> list[str]:
    shown = [record for record in records if record.levelno >= logging.INFO]
    return [record.getMessage() for record in shown if record.exc_info or "\n" in record.getMessage()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_template_is_logged_in_one_line(
    number: signal.Signals, spill_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = tmp_path / "ready"

    async def kill_while_a_call_runs(backend: ForkserverBackend) -> None:
        task = asyncio.create_task(backend.run(WorkerCall(WAITS, "f", [str(ready)]), deadline_s=60))
        await asyncio.to_thread(wait_until, ready.exists)
        (launcher,) = [
            each for each in psutil.Process().children() if any("launcher" in part for part in each.cmdline())
        ]
        os.kill(launcher.pid, number)
        assert (await task).status is OutcomeStatus.CRASHED
        assert (await backend.run(ONE, deadline_s=60)).value == 1

    with _closing(ForkserverBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir))) as backend:
        asyncio.run(kill_while_a_call_runs(backend))
    assert "the template process ended" in caplog.text
    assert _long_records(caplog.records) == []


def test_a_template_that_cannot_import_a_module_is_logged_in_one_line(
    spill_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = WorkerConfig(max_workers=1, spill_dir=spill_dir, preload=("no_such_module_anywhere",))
    with _closing(ForkserverBackend(config)) as backend:
        outcome = asyncio.run(backend.run(ONE, deadline_s=60))
    assert "no_such_module_anywhere" in str(outcome.error)
    assert _long_records(caplog.records) == []


@pytest.mark.parametrize("kind", [LokyBackend, ForkserverBackend])
def test_a_shortage_while_an_event_is_served_is_logged_in_one_line(
    kind: Any, spill_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gigaexec.pool.worker_events import WorkerEvents

    on_answer = WorkerEvents._on_answer
    refusals = iter(range(1))

    def refuse_once(*args: Any) -> None:
        for _ in refusals:
            raise OSError(errno.EMFILE, "Too many open files")
        on_answer(*args)

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(WorkerEvents, "_on_answer", refuse_once)
    with _closing(kind(WorkerConfig(max_workers=1, spill_dir=spill_dir))) as backend:
        outcome = asyncio.run(backend.run(ONE, deadline_s=60))
        assert outcome.status is OutcomeStatus.INFRASTRUCTURE
    assert "Too many open files" in caplog.text
    assert _long_records(caplog.records) == []
    assert [record for record in caplog.records if record.exc_info and record.levelno == logging.DEBUG]
    caplog.clear()  # the traceback refers to descriptors
