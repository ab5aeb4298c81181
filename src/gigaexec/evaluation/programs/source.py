"""Read Python source from files, without running it."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from pathlib import Path

from gigaexec.errors import ConfigurationError

# A file that uses one of these functions may define names that do not appear in its text.
_DEFINES_NAMES_AT_RUN_TIME = frozenset({"exec", "globals", "setattr", "vars"})


class SourceUnreadableError(ConfigurationError):
    """A file could not be read: it is missing, permission is denied, or too many files are open."""


def read_source(path: str | Path) -> str:
    """Return the text of a Python file.

    The encoding is detected as in Python: from an encoding declaration or a byte order mark, else UTF-8.

    Raises:
        SourceUnreadableError: The file is missing or cannot be read; the message names the file.
        ConfigurationError: The file is not text; the message names the file.
    """
    try:
        return importlib.util.decode_source(Path(path).read_bytes())
    except OSError as error:
        raise SourceUnreadableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: an unknown codec is declared (PEP 263)
        raise ConfigurationError(f"{path}: not Python source text: {error}") from error


def read_function_source(path: Path, function_name: str) -> str:
    """Return the text of a Python file, after checking that the file compiles and defines a function.

    The check finds a mistake in a file of the problem, such as validate.py, before programs are evaluated.
    Without the check, the mistake would make every program fail.

    Raises:
        ConfigurationError: The file is missing or unreadable, does not compile, or does not define the
            function; the message names the file.
    """
    source = read_source(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
            compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ConfigurationError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # ValueError: a NUL; the others: deep nesting
        reason = str(error) or type(error).__name__  # a MemoryError has no text
        raise ConfigurationError(f"{path}: not valid Python: {reason}") from error
    if not any(_may_define(node, function_name) for node in ast.walk(tree)):
        raise ConfigurationError(f"{path}: expected a function {function_name}, found none")
    return source


def _may_define(node: ast.AST, name: str) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.Name():
            return node.id in _DEFINES_NAMES_AT_RUN_TIME or (
                node.id == name and isinstance(node.ctx, ast.Store)
            )
        case ast.alias():
            return node.name == "*" or name in (node.asname, node.name)
    return False
