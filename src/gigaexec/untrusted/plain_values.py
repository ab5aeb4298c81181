"""Find the type of a program's value without running code of the value's class.

`isinstance` reads the `__class__` of a value, `hash` and `==` of a type call the metaclass, and `repr` calls
a method of the class. This may run code of the program, which can raise `SystemExit` in the driver, or never
return. So this module compares types only by identity.
"""

from __future__ import annotations

import sys
from typing import Any

# Taken from `type`, because a metaclass may replace these attributes of a class by properties.
_name_of_type = type.__dict__["__name__"].__get__
_flags_of_type = type.__dict__["__flags__"].__get__
_mro_of_type = type.__dict__["__mro__"].__get__
# Py_TPFLAGS_HEAPTYPE in Include/object.h: the type was created at run time, as by a class statement.
_IS_HEAP_TYPE = 1 << 9
# dtype kinds of booleans, numbers, dates and text: dtypes without Python objects and without fields.
_NUMPY_DATA_KINDS = "biufcmMSU"


def type_name(value: object) -> str:
    """Return the name of the value's class, without running code of the metaclass."""
    return str.__str__(_name_of_type(type(value)))


def is_a(value: object, kind: type) -> bool:
    """True if the value is an instance of `kind` or of a subclass. Runs no code of the value's class."""
    return any(base is kind for base in _mro_of_type(type(value)))


def exception_text(error: BaseException) -> str:
    """Return the class name and message of an exception, without running code of a program.

    The message of an exception whose class is not built in is left out, because `str()` would run code of
    the class.
    """
    kind = type(error)
    is_built_in = not _flags_of_type(kind) & _IS_HEAP_TYPE
    message = error.args[0] if is_built_in and len(error.args) == 1 else None
    if type(message) is int and message.bit_length() <= 64:
        return f"{type_name(error)}: {message}"
    return f"{type_name(error)}: {message:.500}" if type(message) is str else type_name(error)


def loaded_numpy() -> Any:
    """Return numpy if it is imported, else None. Also None while another thread is still importing numpy."""
    numpy = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "ndarray") and hasattr(numpy, "sctypeDict") else None


def is_numpy_data(value: Any) -> bool:
    """True if the value is a numpy array or scalar, not of a subclass, and contains no Python objects."""
    numpy = loaded_numpy()
    if numpy is None:
        return False
    kind = type(value)
    if kind is not numpy.ndarray and not any(kind is scalar for scalar in numpy.sctypeDict.values()):
        return False
    dtype = value.dtype
    return dtype.kind in _NUMPY_DATA_KINDS and dtype.metadata is None
