"""Loads a program: code string -> module -> function."""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from linecache import cache as _source_lines
from sys import modules as _modules
from typing import Any

from cloudpickle import (
    register_pickle_by_value as _register_by_value,
    unregister_pickle_by_value as _unregister_by_value,
)

from gigaexec.untrusted.plain_values import type_name

MODULE_NAME = "user_code"
FILE_NAME = "user_code.py"

# The number of compiled programs to keep. Search loops call the same program and the same validator many
# times, and compiling 200 lines takes 2 to 5 ms. Code objects are immutable, so calls can share them.
_COMPILED_PROGRAMS_KEPT = 64
_compiled: OrderedDict[str, types.CodeType] = OrderedDict()

# The globals of the loaded program. Kept here, because the program may replace its module in sys.modules.
_namespace: dict[str, Any] | None = None


class ProgramError(Exception):
    """The program does not define the function. Reported without a traceback: the message says everything."""


def load_program(code: str) -> types.ModuleType:
    """Compile `code` and run its top level as the module `user_code`.

    Raises:
        BaseException: Any exception of the program; SyntaxError if the program does not compile.
    """
    global _namespace
    _show_in_tracebacks(code)
    compiled = _compile(code)
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = FILE_NAME
    # Register the module before its code runs: dataclasses, enum and typing look up the module by name.
    _modules[MODULE_NAME] = module
    _register_by_value(module)
    _namespace = module.__dict__
    exec(compiled, _namespace)
    return module


def unload_program() -> None:
    """Remove the program's module, source lines and globals from this process."""
    global _namespace
    _modules.pop(MODULE_NAME, None)
    _source_lines.pop(FILE_NAME, None)
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


def find_function(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """Return the module's function called `name`.

    Raises:
        ProgramError: The name is missing, or its value is not callable.
    """
    try:
        function = vars(module)[name]
    except KeyError:
        raise ProgramError(f"the program defines no function {name!r}; {_defined_names(module)}") from None
    if not callable(function):
        kind = type_name(function)
        raise ProgramError(f"expected {name!r} of the program to be a function, got type {kind}")
    return function  # type: ignore[no-any-return]


def _show_in_tracebacks(code: str) -> None:
    # The mtime None keeps linecache.checkcache() from looking for this file on the disk.
    _source_lines[FILE_NAME] = (len(code), None, code.splitlines(keepends=True), FILE_NAME)


def _compile(code: str) -> types.CodeType:
    compiled = _compiled.get(code)
    if compiled is None:
        compiled = compile(code, FILE_NAME, "exec", dont_inherit=True)
        if len(_compiled) >= _COMPILED_PROGRAMS_KEPT:
            _compiled.popitem(last=False)
        _compiled[code] = compiled
    else:
        _compiled.move_to_end(code)
    return compiled


def _defined_names(module: types.ModuleType) -> str:
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("__")]
    return f"it defines: {', '.join(names[:20])}" if names else "it defines no functions; is it a script?"
