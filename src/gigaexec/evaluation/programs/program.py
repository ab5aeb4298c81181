"""The record of one program."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs.source import read_source

_SHORT_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its source and who it is.

    Args:
        code: Python source. It may be wrong in any way; it is compiled in a worker only.
        name: What people call it; need not be unique.
        id: Unique; 32 hex digits unless given.

    Raises:
        ConfigurationError: `code`, `name` or `id` is no string, or `id` is empty or holds a NUL.
    """

    code: str
    name: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        for what in ("code", "name", "id"):
            value: object = getattr(self, what)
            if not isinstance(value, str):
                raise ConfigurationError(f"{what} of a program must be a string, not {type(value).__name__}")
        if not self.id or "\0" in self.id:
            raise ConfigurationError(f"id of a program must be a string without NUL, not {self.id!r}")

    @property
    def id_short(self) -> str:
        """The first 8 characters of the id."""
        return self.id[:_SHORT_ID_LENGTH]

    @classmethod
    def from_file(cls, path: str | Path) -> Program:
        """Read a program from a Python file; its name is the file's name without the suffix.

        Raises:
            SourceUnreadableError: The file is missing or cannot be read; the message names it.
            ConfigurationError: It is not text; the message names it.
        """
        return cls(code=read_source(path), name=Path(path).stem)
