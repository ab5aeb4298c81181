"""Values <-> bytes, in the driver."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle

from gigaexec.calls import WorkerCall
from gigaexec.errors import InvalidCallError


def encode_arguments(call: WorkerCall) -> bytes:
    """Pickle a call's args and kwargs; classes and functions of `__main__` go by value.

    Raises:
        InvalidCallError: An argument cannot be pickled. The message names it.
    """
    try:
        return _pickle((call.args, call.kwargs))
    except Exception as error:  # pickling runs the __reduce__ of any class, which may raise anything
        raise InvalidCallError(_name_culprit(call, error)) from error


def decode_value(pickled: bytes | memoryview) -> Any:
    """Unpickle what a worker of this machine sent. Raises whatever the value's classes raise."""
    return pickle.loads(pickled)


def _pickle(value: object) -> bytes:
    pickled: bytes = cloudpickle.dumps(value, protocol=5)
    return pickled


def _name_culprit(call: WorkerCall, error: Exception) -> str:
    named = [(f"args[{index}]", value) for index, value in enumerate(call.args)]
    named += [(f"kwargs[{name!r}]", value) for name, value in call.kwargs.items()]
    for name, value in named:
        try:
            _pickle(value)
        except Exception as cause:  # noqa: BLE001 - as above
            kind = type(value).__name__
            return f"{name} of type {kind} cannot be pickled: {type(cause).__name__}: {cause}"
    return f"the arguments cannot be pickled together: {type(error).__name__}: {error}"
