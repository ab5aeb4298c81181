"""Describes exceptions of programs as text. Exception objects never leave the worker."""

from __future__ import annotations

import linecache
import os
import traceback
from pathlib import Path
from types import TracebackType

from gigaexec.calls import ErrorKind, WorkerError
from gigaexec.untrusted.plain_values import type_name
from gigaexec.worker.call.function import ProgramError
from gigaexec.worker.call.program import program_file

# Frames of gigaexec are left out of tracebacks. With the separator at the end, frames of a package
# gigaexec_tools in the same folder are kept.
_ENGINE_FOLDER = str(Path(__file__).parents[2]) + os.sep
_CONTEXT_LINES = 3

# Reports are shortened: an exception's message may have any size, and a report is copied several times in
# memory.
MAX_REPORT_CHARACTERS = 200_000
MAX_SUMMARY_CHARACTERS = 500


def describe_exception(error: BaseException, kind: ErrorKind = ErrorKind.USER) -> WorkerError:
    """Return the traceback, code context and summary of an exception that a program raised. Never raises."""
    try:
        return WorkerError(
            stderr=_shorten(_report(error), MAX_REPORT_CHARACTERS),
            returncode=_exit_status(error),
            kind=kind,
            summary=_shorten(_summary(error), MAX_SUMMARY_CHARACTERS),
        )
    except BaseException as failure:  # formatting runs code of the program's classes, which may do anything
        name = type_name(error)
        text = f"{name} (the exception could not be formatted: {type(failure).__name__})"
        return WorkerError(stderr=text, kind=kind, summary=text)


def _report(error: BaseException) -> str:
    if isinstance(error, ProgramError):
        return f"{error}\n"
    user_traceback = _without_engine_frames(error.__traceback__)
    lines = traceback.TracebackException(type(error), error, user_traceback).format()
    return "".join(lines) + _code_context(_failing_line(error, user_traceback))


def _without_engine_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_ENGINE_FOLDER):
        trace = trace.tb_next
    return trace


def _failing_line(error: BaseException, trace: TracebackType | None) -> int | None:
    file = program_file()
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _code_context(failing_line: int | None) -> str:
    file = program_file()
    source = linecache.getlines(file)
    if failing_line is None or not 1 <= failing_line <= len(source):
        return ""
    first = max(1, failing_line - _CONTEXT_LINES)
    last = min(len(source), failing_line + _CONTEXT_LINES)
    width = len(str(last))
    shown = [
        f"{'>' if number == failing_line else ' '} {number:>{width}} | {source[number - 1].rstrip()}\n"
        for number in range(first, last + 1)
    ]
    return f"\nCode context ({os.path.basename(file)}, line {failing_line}):\n" + "".join(shown)


def _summary(error: BaseException) -> str:
    if isinstance(error, ProgramError):
        return str(error)
    if isinstance(error, SyntaxError):
        name = os.path.basename(error.filename or "<unknown>")
        where = f" ({name}, line {error.lineno})" if error.lineno else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    text = str(error).strip()
    name = type(error).__name__
    return f"{name}: {text.splitlines()[0]}" if text else name


def _exit_status(error: BaseException) -> int:
    if isinstance(error, SystemExit) and isinstance(error.code, int) and 0 < abs(error.code) < 2**63:
        return int(error.code)
    return 1


def _shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = (limit - 80) // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters left out] ...\n{text[-half:]}"
