"""Rebuild a pickled value in its own worker, before the driver does the same.

Rebuilding runs code of the value's classes: `__setstate__`, `__reduce__`, metaclasses. In the worker, that
code runs within the deadline and the limits of the call. A class that hangs, exits or crashes there fails its
own call, and never reaches the driver.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pickle import loads as _loads

import cloudpickle.cloudpickle as _cloudpickle

# cloudpickle keeps the dynamic classes of this process under this private name, and finds them there again.
_TRACKER = "_DYNAMIC_CLASS_TRACKER_BY_ID"


class NotRebuiltError(Exception):
    """A value cannot be rebuilt from its pickle. `cause` is the exception that unpickling raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the value cannot be rebuilt from its pickle")
        self.cause = cause


def rebuild(head: memoryview, buffers: Sequence[memoryview]) -> None:
    """Unpickle a value as the driver will, and drop the result.

    Args:
        head: The pickle.
        buffers: The buffers to which the pickle refers.

    Raises:
        NotRebuiltError: Unpickling raised an exception.
    """
    try:
        with _classes_unknown():
            _loads(head, buffers=buffers)
    except BaseException as error:  # code of the value's classes may raise anything, even SystemExit
        raise NotRebuiltError(error) from error


@contextmanager
def _classes_unknown() -> Iterator[None]:
    """Make cloudpickle create the classes of the pickle, as in the driver, instead of finding them here."""
    tracker = getattr(_cloudpickle, _TRACKER, None)
    if tracker is None:  # another version of cloudpickle: the classes are found, the instances are rebuilt
        yield
        return
    setattr(_cloudpickle, _TRACKER, weakref.WeakValueDictionary())
    try:
        yield
    finally:
        setattr(_cloudpickle, _TRACKER, tracker)
