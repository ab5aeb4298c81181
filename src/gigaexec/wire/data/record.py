"""`DataRecord`: the type name and fields of an instance of a program's class, without the class's code."""

from __future__ import annotations

from typing import Any, NoReturn


class DataRecord:
    """The type name and fields of an instance of a program's class. The driver never runs code of the class.

    Fields can be read as attributes: `record.loss` is `record.fields["loss"]`. Some fields can be read only
    through `fields`: those named `type_name` or `fields`, and those whose names start and end with two
    underscores.

    Two records are equal if their type names and their fields are equal. A record is hashable if the values
    of all its fields are hashable. Never change a record that is in a set or is a key of a dict. Attributes
    cannot be assigned; `fields` is an ordinary dict.

    Args:
        type_name: Module and qualified name of the class, such as `model.Layer`. The program chose this text.
        fields: Names and values of the fields, in order.
    """

    __slots__ = ("fields", "type_name")
    __match_args__ = ("type_name", "fields")

    type_name: str
    fields: dict[str, Any]

    def __init__(self, type_name: str, fields: dict[str, Any]) -> None:
        object.__setattr__(self, "type_name", type_name)
        object.__setattr__(self, "fields", fields)

    def __getattr__(self, name: str) -> Any:
        # Libraries look up names such as `__array_interface__`, and trust the memory address in the value.
        # The program chooses the field names, so special names are never looked up in `fields`.
        is_special = name == "fields" or (name.startswith("__") and name.endswith("__"))
        if not is_special and name in self.fields:
            return self.fields[name]
        raise AttributeError(f"the record has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign {name!r}: the attributes of a DataRecord are read-only")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: the attributes of a DataRecord are read-only")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataRecord):
            return NotImplemented
        return self.type_name == other.type_name and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((self.type_name, frozenset(self.fields.items())))

    def __repr__(self) -> str:
        # The program chose the names, so unprintable characters are shown as escapes.
        name = self.type_name if self.type_name.isprintable() else repr(self.type_name)[1:-1]
        shown = [
            f"{field}={value!r}" if field.isidentifier() else f"**{{{field!r}: {value!r}}}"
            for field, value in self.fields.items()
        ]
        return f"{name}({', '.join(shown)})"

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(name for name in self.fields if name.isidentifier())})

    def __reduce__(self) -> tuple[type[DataRecord], tuple[str, dict[str, Any]]]:
        return DataRecord, (self.type_name, self.fields)
