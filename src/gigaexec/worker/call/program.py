"""Loads a program: code string -> module."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from linecache import cache as _source_lines
from sys import modules as _modules
from typing import Any, NamedTuple

from cloudpickle import (
    register_pickle_by_value as _register_by_value,
    unregister_pickle_by_value as _unregister_by_value,
)

from gigaexec.worker.call.source import FILE_NAME, lines_of

MODULE_NAME = "user_code"


class _Compiled(NamedTuple):
    code: types.CodeType
    names: frozenset[str]


# The number of compiled programs to keep. Search loops call the same program and the same validator many
# times, and compiling 200 lines takes 2 to 5 ms. Code objects are immutable, so calls can share them.
_COMPILED_PROGRAMS_KEPT = 64
_compiled: OrderedDict[tuple[str, str], _Compiled] = OrderedDict()

_file = FILE_NAME
_names: frozenset[str] = frozenset()

_LONGEST_MODULE_NAME = 100

# The globals of the loaded program. Kept here, because the program may replace its module in sys.modules.
_namespace: dict[str, Any] | None = None


def load_program(code: str, file: str = FILE_NAME) -> types.ModuleType:
    """Compile `code` and run its top level as the module `user_code`.

    Args:
        code: The text, as `source.normalized` returns it.
        file: Path of the program's file, for `__file__` and tracebacks.

    Raises:
        BaseException: Any exception of the program; SyntaxError if the program does not compile.
    """
    global _namespace, _file, _names
    _file, _names = file, frozenset()
    # The mtime is None: linecache.checkcache() must not read the file again.
    _source_lines[file] = (len(code), None, lines_of(code), file)
    compiled = _compile(code, file)
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = file
    # Child processes with the start method spawn run the file of `__main__` first, if it has one.
    _modules["__main__"] = types.ModuleType("__main__")
    # Register the module before its code runs: dataclasses, enum and typing look up the module by name.
    _modules[MODULE_NAME] = module
    _register_by_value(module)
    _namespace = module.__dict__
    _names = compiled.names
    exec(compiled.code, _namespace)
    return module


def names_in_program() -> frozenset[str]:
    """Return the names and short strings in the code of the program that was loaded last.

    A program that changes a module has the module's name in its code.
    """
    return _names


def program_file() -> str:
    """Return the path of the file of the program that was loaded last."""
    return _file


def unload_program() -> None:
    """Remove the program's module, source lines and globals from this process."""
    global _namespace
    _modules.pop(MODULE_NAME, None)
    _source_lines.pop(_file, None)
    if _namespace is None:
        return
    # Functions and their globals form reference cycles. Clearing the globals frees a large array now, and not
    # only at the next full garbage collection.
    _namespace.clear()
    _namespace = None
    # cloudpickle unregisters a module by name. Pass a new module with that name: the program may have renamed
    # its own module, or changed its class.
    with suppress(ValueError):  # the program itself has unregistered the module
        _unregister_by_value(types.ModuleType(MODULE_NAME))


def _compile(code: str, file: str) -> _Compiled:
    compiled = _compiled.get((code, file))
    if compiled is None:
        top_level = compile(code, file, "exec", dont_inherit=True)
        compiled = _Compiled(top_level, frozenset(_names_in(top_level)))
        if len(_compiled) >= _COMPILED_PROGRAMS_KEPT:
            _compiled.popitem(last=False)
        _compiled[code, file] = compiled
    else:
        _compiled.move_to_end((code, file))
    return compiled


def _names_in(code: types.CodeType) -> Iterator[str]:
    pending = [code]
    while pending:
        each = pending.pop()
        yield from each.co_names
        for constant in each.co_consts:
            if type(constant) is types.CodeType:
                pending.append(constant)
            elif type(constant) is str and len(constant) < _LONGEST_MODULE_NAME:
                yield constant
