"""Reading Python source from files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from gigaexec.errors import ConfigurationError


class SourceUnreadableError(ConfigurationError):
    """The machine did not give the file: it is missing, not permitted, or there are too many open files."""


def read_source(path: str | Path) -> str:
    """Return the text of a Python file, decoded as Python would: its coding line and byte order mark count.

    Raises:
        SourceUnreadableError: The file is missing or cannot be read; the message names it.
        ConfigurationError: It is not text; the message names it.
    """
    try:
        return importlib.util.decode_source(Path(path).read_bytes())
    except OSError as error:
        raise SourceUnreadableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: a coding line that names no codec
        raise ConfigurationError(f"{path}: is not Python source text: {error}") from error
