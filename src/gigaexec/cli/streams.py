"""Make stdout and stderr robust: either may be closed, full, not in UTF-8, or a pipe without a reader.

Warnings of the library are written to stderr too.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from gigaexec.cli.exit_codes import Interrupted
from gigaexec.errors import InfrastructureError
from gigaexec.untrusted.log_text import block, one_line

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDIN_FD, _STDOUT_FD, _STDERR_FD = range(3)


def prepare_streams() -> None:
    """Replace sys.stdout and sys.stderr with streams that handle failed writes for all commands.

    A write to stdout raises, at the latest when stdout is flushed:

    - `Interrupted` with SIGPIPE if the reader has closed the pipe;
    - `InfrastructureError` if stdout cannot be written: the disk is full, or stdout is closed.

    These exceptions are not OSErrors, because typer and rich give an OSError an exit status of their own.
    Text that cannot be written to stderr is dropped. A character that the encoding of a stream does not have
    is written as an escape.
    """
    _occupy_closed_descriptors()
    sys.stdout = _text_stream(_Stdout(_STDOUT_FD, "w", closefd=False), sys.stdout)
    sys.stderr = _text_stream(_Stderr(_STDERR_FD, "w", closefd=False), sys.stderr)


def log_warnings_to_stderr() -> None:
    """Write the library's log records of level WARNING and above to stderr. A second call changes nothing."""
    library = logging.getLogger("gigaexec")
    if not any(isinstance(handler, _StderrHandler) for handler in library.handlers):
        handler = _StderrHandler(logging.WARNING)
        # The table and the results file already show failures of stages. The logged tracebacks of these
        # failures would hide other warnings.
        handler.addFilter(lambda record: not record.name.startswith("gigaexec.evaluation.stages."))
        library.addHandler(handler)


def print_error(message: str) -> None:
    """Write an error message of one or more lines to stderr, with control characters escaped."""
    print(f"gigaexec: {block(message)}", file=sys.stderr)


class _Stdout(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # Replace stdout with /dev/null. Otherwise Python's flush at exit would write the buffered text
            # and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT_FD)
            if error.errno == errno.EPIPE:
                raise Interrupted(signal.SIGPIPE) from None
            raise InfrastructureError(f"stdout cannot be written: {error.strerror}") from error


class _Stderr(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:  # the error cannot be reported, because stderr itself fails
            return memoryview(data).nbytes


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # sys.stderr is looked up for every record, because the progress bar replaces it with another stream.
        print(f"gigaexec: {record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr)


def _occupy_closed_descriptors() -> None:
    """Open /dev/null with the number of each standard descriptor (0, 1, 2) that is closed.

    Otherwise the next pipe or file that the command opens would get the number of the closed descriptor, and
    output for stdout or stderr would go there. /dev/null is opened write-only as stdin and read-only as
    stdout and stderr, so that reads and writes fail with EBADF, as with a closed descriptor.
    """
    for descriptor, mode in ((_STDIN_FD, os.O_WRONLY), (_STDOUT_FD, os.O_RDONLY), (_STDERR_FD, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # open() returns the lowest free number. That is this descriptor, because all lower ones are open.
            os.set_inheritable(os.open(os.devnull, mode), True)


def _text_stream(raw: io.FileIO, replaced: TextIO | None) -> TextIO:
    """Return a text stream over `raw`, with the settings of the stream `replaced`.

    Args:
        raw: The file to write to.
        replaced: The stream that is replaced; None if its descriptor was closed when Python started.
    """
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
