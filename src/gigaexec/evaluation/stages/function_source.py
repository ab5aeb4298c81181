"""Reading a problem's own file, so that its mistakes are told before they fail every program."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from gigaexec.errors import ConfigurationError
from gigaexec.evaluation.programs import read_source

# With these a file can define names that its text does not show.
_DEFINE_UNSEEN = frozenset({"exec", "globals", "setattr", "vars"})


def read_function_source(path: Path, function_name: str) -> str:
    """Return the text of a Python file that defines a function; none of it is run.

    Raises:
        ConfigurationError: The file is missing or unreadable, does not compile, or defines no such name; the
            message names it.
    """
    source = read_source(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
            compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ConfigurationError(f"{path}:{error.lineno}: is not valid Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; deep nesting
        raise ConfigurationError(f"{path}: is not valid Python: {error}") from error
    if not any(_may_define(node, function_name) for node in ast.walk(tree)):
        raise ConfigurationError(f"{path}: expected a function {function_name}, found none")
    return source


def _may_define(node: ast.AST, name: str) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.Name():
            return node.id in _DEFINE_UNSEEN or (node.id == name and isinstance(node.ctx, ast.Store))
        case ast.alias():
            return node.name == "*" or name in (node.asname, node.name)
    return False
