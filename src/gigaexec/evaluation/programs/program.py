"""The class `Program`: source, name and id of one program."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs.source import read_source
from gigaexec.untrusted.plain_values import type_name

_SHORT_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its source, its name and its id.

    Args:
        code: Python source. Any text is allowed here, because only a worker compiles it.
        name: Name shown to people; it need not be unique.
        id: Unique id. Default: 32 random hex digits.
        file: Absolute path of the file that the code came from, as in `WorkerCall`; None if there is none.

    Raises:
        ConfigurationError: `code`, `name` or `id` is not a string, `id` is empty or contains a NUL, or `file`
            is neither None nor an absolute path.
    """

    code: str
    name: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    file: str | None = None

    def __post_init__(self) -> None:
        for name in ("code", "name", "id"):
            value: object = getattr(self, name)
            if not isinstance(value, str):
                raise ConfigurationError(f"{name} of a program must be a string, not {type_name(value)}")
        if not self.id or "\0" in self.id:
            raise ConfigurationError(
                f"id of a program must be a non-empty string without NUL, not {self.id!r}"
            )

        file: object = self.file
        if file is not None and not (isinstance(file, str) and file.startswith("/")):
            raise ConfigurationError(f"file of a program must be an absolute path or None, not {file!r:.80}")

    @property
    def id_short(self) -> str:
        """The first 8 characters of the id."""
        return self.id[:_SHORT_ID_LENGTH]

    @classmethod
    def from_file(cls, path: str | Path) -> Program:
        """Read a program from a Python file. The program's name is the file name without its suffix.

        The program keeps the path of the file as `file`.

        Raises:
            SourceUnreadableError: The file is missing or cannot be read; the message names the file.
            ConfigurationError: The file is not text; the message names the file.
        """
        return cls(code=read_source(path), name=Path(path).stem, file=str(Path(path).absolute()))
