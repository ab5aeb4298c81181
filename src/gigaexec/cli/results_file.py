"""The file with a line of JSON for each evaluation."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from gigaexec.errors import ConfigurationError, InfrastructureError

RESULTS_FILE = "results.jsonl"


class ResultsFile:
    """Writes lines that are complete in the file when `write` returns, so that nothing is lost later.

    A run that writes none leaves things as they were: no empty file, and the earlier results in place.

    Args:
        folder: Made where it is missing.
        overwrite: Replace the results of an earlier run instead of refusing.

    Raises:
        ConfigurationError: The file cannot be made, or is there and may not be replaced.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.path = folder / RESULTS_FILE
        self._has_lines = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._open(overwrite)
        except FileExistsError:
            what = "is there already; name another folder, or add --overwrite"
            if not self.path.exists():
                what = "cannot be made: there is a file in place of the folder"
            raise ConfigurationError(f"{self.path} {what}") from None
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be made: {error.strerror}") from None

    def write(self, line: str) -> None:
        """Add a line.

        Raises:
            InfrastructureError: The disk is full, say.
        """
        try:
            if not self._has_lines and os.fstat(self._file.fileno()).st_size:
                self._file.truncate(0)
            self._has_lines = True
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise self._not_written(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # After a failed write this flushes once more, and fails once more.
            self._file.close()
            if not self._has_lines and self._file.mode == "x":
                self.path.unlink(missing_ok=True)
        except OSError as failure:
            if error is None:
                raise self._not_written(failure) from failure

    def _open(self, overwrite: bool) -> TextIO:
        try:
            return self.path.open("x", encoding="utf-8")
        except FileExistsError:
            if not overwrite:
                raise
            # Earlier results are replaced with the first line, not before there is one.
            return self.path.open("a", encoding="utf-8")

    def _not_written(self, error: OSError) -> InfrastructureError:
        return InfrastructureError(f"{self.path} cannot be written: {error.strerror}")
