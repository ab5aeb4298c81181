"""Find out what is pickled because of the classes and functions in a value. Runs in the worker.

A class or function of the program is pickled by value: with the code of its methods, and with the globals and
closure variables that this code uses. So a global can be the reason that a value cannot be pickled, or that
its pickle is large. This module pickles parts of the value once more, so it is used only in these two cases.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

# Imported by name before any program runs, because a program may replace `cloudpickle.CloudPickler`.
from cloudpickle import CloudPickler as _CloudPickler

from gigaexec.quantities import bytes_text
from gigaexec.untrusted.plain_values import is_a, type_name

WARNING_BYTES = 16 * 2**20
"""Size from which `warning_on_size` reports what travels because of classes and functions."""

_MOST_FUNCTIONS = 1000
_GLOBAL_OPS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})


# Attributes of classes whose contents are functions, or the class itself.
_METHODS_AND_SLOTS = frozenset(
    {FunctionType, staticmethod, classmethod, property, GetSetDescriptorType, MemberDescriptorType}
)


class Use(NamedTuple):
    """The use of a variable in a function."""

    function: FunctionType
    kind: str
    name: str
    value: Any

    def __str__(self) -> str:
        code = self.function.__code__
        place = f"{code.co_qualname} (line {code.co_firstlineno})"
        return f"{place} uses the {self.kind} {self.name} of type {type_name(self.value)}"


def reason_not_pickled(value: Any) -> str:
    """Return the use of a variable because of which a value cannot be pickled; "" if there is none."""
    # The function that was pickled last is the one that uses the culprit.
    functions = [each for each in _pickled_by_value(value) if type(each) is FunctionType]
    for function in functions[: -_MOST_FUNCTIONS - 1 : -1]:
        for use in _uses(function):
            if _size_of(use.value) is None:
                return (
                    f"{use}{_entry_not_pickled(use.value)}. A class or function is sent with these variables"
                )
    return ""


def warning_on_size(value: Any) -> str:
    """Return a warning if more than `WARNING_BYTES` travel because of classes and functions, else ""."""
    found = _pickled_by_value(value)
    size = _size_of(found) or 0
    if size <= WARNING_BYTES:
        return ""
    parts = [(_size_of(held) or 0, name) for name, held in _parts(found[:_MOST_FUNCTIONS])]
    largest, name = max(parts, default=(0, "unknown"), key=lambda part: part[0])
    return (
        f"of the return value, {bytes_text(size)} are classes and functions with the variables that they "
        f"use; the largest part: {name}, {bytes_text(largest)}"
    )


class _Recorder(_CloudPickler):  # type: ignore[misc]  # cloudpickle has no types
    """A pickler that writes nothing. It counts bytes, and records what it pickles by value."""

    def __init__(self) -> None:
        super().__init__(self, protocol=5)
        self.by_value: list[Any] = []
        self.size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented:  # NotImplemented: no class or function, or pickled by reference
            self.by_value.append(obj)
        return reduced


def _pickled_by_value(value: Any) -> list[Any]:
    """Return the classes and functions that are pickled by value, in the order of pickling."""
    recorder = _Recorder()
    _pickle(recorder, value)
    return recorder.by_value


def _parts(found: list[Any]) -> Iterator[tuple[str, Any]]:
    """Return the variables of functions, and the attributes of classes, with a description."""
    for each in found:
        if type(each) is FunctionType:
            yield from ((str(use), use.value) for use in _uses(each))
        else:
            attributes = vars(each).items()
            plain = ((name, held) for name, held in attributes if type(held) not in _METHODS_AND_SLOTS)
            yield from ((f"{each.__qualname__}.{name}", held) for name, held in plain)


def _size_of(value: Any) -> int | None:
    """Return the size of the value's pickle, or None if the value cannot be pickled."""
    recorder = _Recorder()
    return recorder.size if _pickle(recorder, value) else None


def _pickle(recorder: _Recorder, value: Any) -> bool:
    try:
        recorder.dump(value)
    except BaseException:  # noqa: BLE001 - pickling runs code of any class; the caller reports the first failure
        return False
    return True


def _uses(function: FunctionType) -> Iterator[Use]:
    names = function.__globals__
    for name in dict.fromkeys(_global_names(function.__code__)):
        if name in names:
            yield Use(function, "global", name, names[name])
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield Use(function, "variable", name, cell.cell_contents)
        except ValueError:  # the cell is empty
            continue


def _global_names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _entry_not_pickled(value: Any) -> str:
    """Return the entry because of which a module of the program cannot be pickled by value."""
    if not is_a(value, ModuleType):
        return ""
    for name, entry in vars(value).items():
        if name != "__builtins__" and _size_of(entry) is None:
            return f", whose global {name} of type {type_name(entry)} cannot be pickled"
    return ""
