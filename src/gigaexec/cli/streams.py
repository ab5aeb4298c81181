"""The standard streams of a command that may be closed, full, of another encoding, or read by nobody."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from gigaexec.cli.exit_codes import Interrupted
from gigaexec.errors import InfrastructureError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN_FD, _STDOUT_FD, _STDERR_FD = range(3)


def prepare_streams() -> None:
    """Replace stdout and stderr, so that what goes wrong with them is told in one way everywhere.

    A write to stdout raises, when it is flushed at the latest:

    - `Interrupted` with SIGPIPE where whoever read it went away;
    - `InfrastructureError` where it cannot be written: a full disk, a closed stream.

    Neither is an OSError, which typer and rich would turn into exit statuses of their own. What cannot be
    written to stderr is dropped. A character that the encoding lacks is written as an escape.
    """
    _occupy_closed_descriptors()
    sys.stdout = _text_stream(_Results(_STDOUT_FD, "w", closefd=False), sys.stdout)
    sys.stderr = _text_stream(_Messages(_STDERR_FD, "w", closefd=False), sys.stderr)


class _Results(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is still buffered would fail once more when Python flushes at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT_FD)
            if error.errno == errno.EPIPE:
                raise Interrupted(signal.SIGPIPE) from None
            raise InfrastructureError(f"stdout cannot be written: {error.strerror}") from error


class _Messages(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:  # there is nowhere left to tell it
            return memoryview(data).nbytes


def _occupy_closed_descriptors() -> None:
    """Keep 0, 1 and 2 from becoming a pipe or a file of ours, which then gets what is meant for a stream.

    They are opened the wrong way round: a use fails as that of a closed descriptor does.
    """
    for descriptor, mode in ((_STDIN_FD, os.O_WRONLY), (_STDOUT_FD, os.O_RDONLY), (_STDERR_FD, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.set_inheritable(os.open(os.devnull, mode), True)


def _text_stream(raw: io.FileIO, replaced: TextIO | None) -> TextIO:
    """A text stream over `raw` that is otherwise like the replaced one; None is one closed from the start."""
    buffered = io.BufferedWriter(raw)
    if not isinstance(replaced, io.TextIOWrapper):
        return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace")
    replaced.flush()
    return io.TextIOWrapper(
        buffered,
        encoding=replaced.encoding,
        errors="backslashreplace",
        line_buffering=replaced.line_buffering,
        write_through=replaced.write_through,
    )
