"""Read the fields of an instance of a program's class, without calling `__getstate__` or similar methods."""

from __future__ import annotations

import dataclasses
import enum
import sys
from types import MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

from gigaexec.wire.data.format import UnfitValueError

_POINTER_BYTES = object.__basicsize__ // 2  # an object consists of a reference count and a type pointer
# Py_TPFLAGS_HEAPTYPE in Include/object.h: the type was created at run time, for example by a class statement.
_IS_HEAP_TYPE = 1 << 9

# Classes of the standard library whose instances have only attributes that a program has set.
_NAMESPACES = ("types.SimpleNamespace", "argparse.Namespace")


def type_name_of(kind: type) -> str:
    """Return the name of the type as `module.QualName`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def fields_of(value: Any) -> dict[str, Any]:
    """Return the names and values of an instance's fields, in the order that `encode_data` describes.

    Raises:
        UnfitValueError: The type cannot become a DataRecord, or the name of an attribute is not a str.
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return {"name": value.name, "value": value.value}
    if _is_named_tuple(value):
        return dict(zip(value._fields, value, strict=True))
    if reason := _why_no_record(kind, value):
        raise UnfitValueError(f"is {reason}, which the data format cannot encode")
    declared = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    fields: dict[str, Any] = {}
    for field in declared:
        _add(fields, field.name, value)
    for name in _slots_of(kind):
        _add(fields, name, value)
    for name, held in getattr(value, "__dict__", {}).items():
        if name == "__orig_class__":  # typing adds this attribute to `Box[int]()`
            continue
        fields.setdefault(name, held)
    if odd := [name for name in fields if type(name) is not str]:
        raise UnfitValueError(f"has an attribute whose name is of type {type(odd[0]).__name__}, not str")
    return fields


def _add(fields: dict[str, Any], name: str, value: Any) -> None:
    try:
        fields[name] = getattr(value, name)
    except AttributeError:
        pass  # the field or slot has no value


def _is_named_tuple(value: Any) -> bool:
    names = getattr(type(value), "_fields", None)
    return isinstance(value, tuple) and isinstance(names, tuple) and len(names) == len(value)


def _slots_of(kind: type) -> list[str]:
    return [
        name
        for base in reversed(kind.__mro__)
        for name, member in vars(base).items()
        # SimpleNamespace has a member descriptor `__dict__`, which is not a slot.
        if isinstance(member, MemberDescriptorType) and name != "__dict__"
    ]


def _why_no_record(kind: type, value: Any) -> str:
    name = type_name_of(kind)
    if isinstance(value, type):
        return f"the class {type_name_of(value)}"
    if type_name_of(kind) in _NAMESPACES:
        return ""
    if not kind.__flags__ & _IS_HEAP_TYPE:
        return f"a {kind.__qualname__ if kind.__module__ == 'builtins' else name}"
    built_in = next((base for base in kind.__mro__[:-1] if not base.__flags__ & _IS_HEAP_TYPE), None)
    if built_in is not None:
        return f"a {name}, a subclass of {type_name_of(built_in)}"
    if _is_of_standard_library(kind):
        return f"a {name}, a class of the standard library whose attributes are internal"
    for base in kind.__mro__[1:-1]:
        if _is_of_standard_library(base) and _slots_of(base):
            return f"a {name}, a subclass of {type_name_of(base)}"
    if any(map(_is_written_in_c, kind.__mro__[:-1])):
        return f"a {name}, whose contents are not in Python attributes"
    # C code may add hidden contents to a Python class. Then an instance is larger than the sum of its parts.
    expected_bytes = object.__basicsize__ + _POINTER_BYTES * (
        len(_slots_of(kind)) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    )
    if kind.__basicsize__ > expected_bytes or kind.__itemsize__:
        return f"a {name}, whose contents are not in Python attributes"
    return ""


def _is_of_standard_library(kind: type) -> bool:
    return str(kind.__module__).partition(".")[0] in sys.stdlib_module_names


def _is_written_in_c(kind: type) -> bool:
    """True if the class itself defines methods in C. A class statement can only copy them."""
    return any(
        isinstance(member, MethodDescriptorType | WrapperDescriptorType) and member.__objclass__ is kind
        for member in vars(kind).values()
    )
