"""Read Python source from files. Nothing here runs it."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from pathlib import Path

from gigaexec.errors import ConfigurationError

# With these functions a file can define names that its text does not show.
_DEFINES_NAMES_AT_RUN_TIME = frozenset({"exec", "globals", "setattr", "vars"})


class SourceUnreadableError(ConfigurationError):
    """The machine could not read a file: it is missing, permission is denied or too many files are open."""


def read_source(path: str | Path) -> str:
    """Return the text of a Python file, decoded by its coding line or byte order mark, as Python decodes it.

    Raises:
        SourceUnreadableError: The file is missing or cannot be read; the message names the file.
        ConfigurationError: The file is not text; the message names the file.
    """
    try:
        return importlib.util.decode_source(Path(path).read_bytes())
    except OSError as error:
        raise SourceUnreadableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, SyntaxError) as error:  # SyntaxError: a coding line that names no codec
        raise ConfigurationError(f"{path}: not Python source text: {error}") from error


def read_function_source(path: Path, function_name: str) -> str:
    """Return the text of a Python file, after a check that it compiles and defines a function.

    The check reports a mistake in a file of the problem, such as validate.py, before it fails every program.

    Raises:
        ConfigurationError: The file is missing or unreadable, does not compile, or does not define the name;
            the message names the file.
    """
    source = read_source(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
            compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ConfigurationError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; deep nesting
        raise ConfigurationError(f"{path}: not valid Python: {error}") from error
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
