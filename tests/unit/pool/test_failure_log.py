"""R149: failures are logged in one line."""

from __future__ import annotations

import errno
import logging

import pytest

from gigaexec.pool.failure_log import in_one_line, log_failure

logger = logging.getLogger("gigaexec.test")


@pytest.mark.parametrize(
    ("error", "traceback_level"),
    [
        (OSError(errno.EMFILE, "Too many open files"), logging.DEBUG),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), logging.DEBUG),
        (AssertionError("mistake"), logging.ERROR),
    ],
)
def test_r149_a_failure_is_one_line_and_a_traceback_at_its_own_level(
    error: Exception, traceback_level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        raise error
    except Exception as caught:
        log_failure(logger, logging.ERROR, caught, "worker %d failed", 3)
    line, details = caplog.records
    assert (line.levelno, line.exc_info) == (logging.ERROR, None)
    assert line.getMessage() == f"worker 3 failed ({type(error).__name__}: {error})"
    assert details.levelno == traceback_level
    assert details.exc_info


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one", "one"),
        ("exit code 1\nTraceback\n  File x\nImportError: no\n", "exit code 1: ImportError: no"),
    ],
)
def test_the_first_and_last_line_of_a_text_are_kept(text: str, line: str) -> None:
    assert in_one_line(text) == line
