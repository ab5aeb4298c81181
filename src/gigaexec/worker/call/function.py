"""Finds the function of a program by its name, and calls it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable
from typing import Any

from gigaexec.untrusted.plain_values import type_name

_GENERATORS = {types.GeneratorType: "a generator", types.AsyncGeneratorType: "an async generator"}
_NAMES_SHOWN = 20


class ProgramError(Exception):
    """The program lacks the function. Reported without a traceback: the message says everything."""


def find_function(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """Return the function of a program, or a method that is bound to a new instance of its class.

    Args:
        module: The program.
        name: Name of the function. In a dotted name, such as "Solution.solve", every part is an attribute of
            the part before it.

    Raises:
        ProgramError: A part of the name is missing, the class needs arguments, or the value is not callable.
    """
    if "." not in name:
        function = _attribute(module, name, name)
    else:
        *path, last = name.split(".")
        owner: Any = module
        for index, part in enumerate(path):
            owner = _attribute(owner, part, ".".join(path[: index + 1]))
        function = _attribute(owner, last, name)
        if isinstance(owner, type) and _needs_instance(owner, last):
            function = getattr(_new_instance(owner, ".".join(path)), last)
    if not callable(function):
        kind = type_name(function)
        raise ProgramError(f"expected {name!r} of the program to be a function, got type {kind}")
    return function  # type: ignore[no-any-return]  # callable() has checked it


def call_function(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call the function, and run a coroutine that it returns to its end with `asyncio.run`."""
    value = function(*args, **kwargs)
    if type(value) is types.CoroutineType:
        import asyncio  # an async function has usually imported asyncio itself

        value = asyncio.run(_in_box(value)).value
    return value


def kind_of_generator(value: Any) -> str:
    """Return "a generator" or "an async generator" if the value is one, else ""."""
    return _GENERATORS.get(type(value), "")


class _Box:
    """Holds a value. The repr of the box does not call the repr of the value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


async def _in_box(coroutine: types.CoroutineType[Any, Any, Any]) -> _Box:
    # CPython 3.11 and 3.12 call the repr of the value that the main task returns.
    return _Box(await coroutine)


def _attribute(owner: Any, name: str, full_name: str) -> Any:
    if isinstance(owner, types.ModuleType):
        try:
            return vars(owner)[name]
        except KeyError:
            found = _listed(vars(owner).items())
            defined = f"it defines: {found}" if found else "it defines no functions; is it a script?"
            raise ProgramError(f"the program defines no function {name!r}; {defined}") from None
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = f"class {owner.__name__}" if isinstance(owner, type) else f"object of type {type_name(owner)}"
        found = _listed(vars(owner).items()) if isinstance(owner, type) else ""
        has = f"; the class has: {found}" if found else ""
        raise ProgramError(f"{full_name!r} does not exist: the {kind} has no {name!r}{has}") from None


def _listed(attributes: Iterable[tuple[str, Any]]) -> str:
    names = [name for name, value in attributes if callable(value) and not name.startswith("__")]
    return ", ".join(names[:_NAMES_SHOWN])


def _needs_instance(owner: type, name: str) -> bool:
    return not isinstance(inspect.getattr_static(owner, name), staticmethod | classmethod | type)


def _new_instance(owner: type, name: str) -> Any:
    try:
        inspect.signature(owner).bind()
    except TypeError as error:
        raise ProgramError(
            f"class {name!r} cannot be created without arguments ({error}); "
            "give the parameters of its constructor default values, or name a function"
        ) from None
    except ValueError:
        pass  # a class in C without a signature: creating the instance shows whether it needs arguments
    return owner()
