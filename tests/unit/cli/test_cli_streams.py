"""The library's warnings on the command's stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gigaexec.cli.streams import log_warnings_to_stderr


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Remove the handlers that a test adds to the library's logger."""
    library = logging.getLogger("gigaexec")
    before = list(library.handlers)
    yield
    library.handlers[:] = before


def test_r10_warning_is_one_clean_line_however_often_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    log_warnings_to_stderr()
    log_warnings_to_stderr()
    logging.getLogger("gigaexec.cli").warning("worker said %s", "a\x1b[2J\nb\u202e")
    logging.getLogger("gigaexec.cli").info("not shown")
    assert capsys.readouterr().err == "gigaexec: warning: worker said a\\x1b[2J\\nb\\u202e\n"


def test_r149_failures_of_stages_are_left_to_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    log_warnings_to_stderr()
    logging.getLogger("gigaexec.evaluation.stages.stage").warning("stage call failed for program p")
    assert capsys.readouterr().err == ""
