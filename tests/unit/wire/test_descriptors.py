"""Opening a file through a descriptor of another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gigaexec.wire.descriptors import open_file_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_file_without_a_name_is_opened_for_reading(tmp_path: Path) -> None:
    with os.fdopen(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR), "r+b") as file:
        file.write(b"content")
        file.flush()
        with subprocess.Popen(["sleep", "1000"], pass_fds=[file.fileno()]) as child:
            try:
                opened = open_file_of(child.pid, file.fileno())
            finally:
                child.kill()
    with os.fdopen(opened.release(), "rb") as again:
        assert again.read() == b"content"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(again.fileno(), b"x")


def test_a_pipe_is_not_opened_which_would_block() -> None:
    reader, writer = os.pipe()
    try:
        os.close(writer)
        with pytest.raises(PermissionError, match=f"descriptor {reader} of process .* is not a regular file"):
            open_file_of(os.getpid(), reader)
    finally:
        os.close(reader)


@pytest.mark.parametrize("number", [10**6, 2**63])
def test_what_is_not_open_is_not_found(number: int) -> None:
    with pytest.raises(FileNotFoundError):
        open_file_of(os.getpid(), number)
