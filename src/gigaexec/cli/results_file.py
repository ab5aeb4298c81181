"""The results file of `gigaexec evaluate`: one line of JSON for each evaluation."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from gigaexec.errors import ConfigurationError, InfrastructureError

RESULTS_FILE = "results.jsonl"


class ResultsFile:
    """The results file, to which `write` adds lines. A line is completely written when `write` returns.

    If no line is written, closing restores the earlier state: a new file is removed, and earlier results are
    kept.

    Args:
        folder: The folder of the file. It is created if it does not exist.
        overwrite: True to replace the results of an earlier run. False to raise an error if the file exists.

    Raises:
        ConfigurationError: The file cannot be created, or it exists and `overwrite` is False.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.path = folder / RESULTS_FILE
        self._has_lines = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._open(overwrite)
        except OSError as error:
            raise ConfigurationError(self._open_error_text(error)) from None

    def write(self, line: str) -> None:
        """Add a line.

        Args:
            line: Text without a newline.

        Raises:
            InfrastructureError: The line could not be written, for example because the disk is full.
        """
        try:
            if not self._has_lines and os.fstat(self._file.fileno()).st_size:
                self._file.truncate(0)
            self._has_lines = True
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise self._write_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After a failed write, close() flushes the same text and fails again.
            self._file.close()
            if not self._has_lines and self._file.mode == "x":
                self.path.unlink(missing_ok=True)
        except OSError as failure:
            if error is None:
                raise self._write_error(failure) from failure

    def _open(self, overwrite: bool) -> TextIO:
        try:
            return self.path.open("x", encoding="utf-8")
        except FileExistsError:
            if not overwrite:
                raise
            # Mode "w" would delete the earlier results immediately. They must stay until the first new line.
            return self.path.open("a", encoding="utf-8")

    def _open_error_text(self, error: OSError) -> str:
        # If a parent folder of the path is a file, errno is EEXIST or ENOTDIR.
        file = next((parent for parent in self.path.parents if parent.is_file()), None)
        if file is not None:
            return f"cannot create {self.path}: {file} is a file"
        if isinstance(error, FileExistsError):
            return f"{self.path} already exists. Choose another --output, or pass --overwrite"
        return f"cannot create {self.path}: {error.strerror}"

    def _write_error(self, error: OSError) -> InfrastructureError:
        return InfrastructureError(f"{self.path} cannot be written: {error.strerror}")
