"""Type names and kinds of a program's values, found without running any code of their classes.

`isinstance` asks a value for its `__class__`, `hash` and `==` of a type ask its metaclass, and `repr` asks
the value itself. Each of these can raise `SystemExit` in the driver or never return, so here types are
compared by identity alone.
"""

from __future__ import annotations

import sys
from typing import Any

# Taken from `type`: on a class, a metaclass may replace these attributes by properties.
_name_of_type = type.__dict__["__name__"].__get__
_mro_of_type = type.__dict__["__mro__"].__get__
# Booleans, numbers, dates and text: kinds without Python objects and without fields.
_NUMPY_DATA_KINDS = "biufcmMSU"


def type_name(value: object) -> str:
    """Return the name of the value's class without asking its metaclass."""
    return str.__str__(_name_of_type(type(value)))


def is_a(value: object, kind: type) -> bool:
    """Return True if the value is an instance of `kind` or a subclass, without asking the value."""
    return any(base is kind for base in _mro_of_type(type(value)))


def is_numpy_data(value: Any) -> bool:
    """Return True if the value is an array or scalar of numpy's own classes without Python objects."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return False
    kind = type(value)
    if kind is not numpy.ndarray and not any(kind is scalar for scalar in numpy.sctypeDict.values()):
        return False
    dtype = value.dtype
    return dtype.kind in _NUMPY_DATA_KINDS and dtype.metadata is None
