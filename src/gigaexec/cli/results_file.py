"""The file with a line of JSON for each evaluation."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from gigaexec.errors import ConfigurationError, InfrastructureError

RESULTS_FILE = "results.jsonl"


class ResultsFile:
    """Writes lines that are complete in the file when `write` returns, so that nothing is lost later.

    Args:
        folder: Made where it is missing.
        overwrite: Replace the results of an earlier run instead of refusing.

    Raises:
        ConfigurationError: The file cannot be made, or is there and may not be replaced.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self.path = folder / RESULTS_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w" if overwrite else "x", encoding="utf-8")
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
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise InfrastructureError(f"{self.path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
