"""Reading Python source from files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from gigaexec.errors import ConfigurationError


def read_source(path: str | Path) -> str:
    """Return the text of a Python file, decoded as Python would: its coding line and byte order mark count.

    Raises:
        ConfigurationError: The file is missing, unreadable, or not text; the message names it.
    """
    try:
        return importlib.util.decode_source(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: a coding line that names no codec
        raise ConfigurationError(f"{path}: is not Python source text: {error}") from error
