"""Encoding of arguments: an error names an unpicklable argument before any worker starts."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from gigaexec.calls import WorkerCall
from gigaexec.errors import InvalidCallError
from gigaexec.wire.arguments_out import encode_arguments


class RaisesWhenPickled:
    def __reduce__(self) -> Any:
        raise LookupError("not with me")


def encode(*args: Any, **kwargs: Any) -> bytes:
    return bytes(encode_arguments(WorkerCall("", "f", list(args), kwargs)).contents)


def test_r2_arguments_come_back_equal() -> None:
    shared = [1, 2]
    args, kwargs = pickle.loads(encode(shared, shared, "x", key={"a": shared}))
    assert (args, kwargs) == ([[1, 2], [1, 2], "x"], {"key": {"a": [1, 2]}})
    assert args[0] is args[1] is kwargs["key"]["a"], "args and kwargs must share the object"


def test_r8_functions_of_the_caller_go_by_value() -> None:
    factor = 3
    ((multiply,), _) = pickle.loads(encode(lambda x: x * factor))
    assert multiply(5) == 15


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([1, threading.Lock()], {}, r"args\[1\] of type lock cannot be pickled: TypeError"),
        ([1], {"a": 1, "gate": threading.Lock()}, r"kwargs\['gate'\] of type lock cannot be pickled"),
        ([RaisesWhenPickled()], {}, r"args\[0\] of type RaisesWhenPickled .*: LookupError: .*not with me"),
        ([[[threading.Lock()]]], {}, r"args\[0\] of type list cannot be pickled"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named(
    args: list[Any], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidCallError, match=message) as refusal:
        encode(*args, **kwargs)
    assert refusal.value.__cause__ is not None


def test_an_argument_that_is_too_deep_is_named() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidCallError, match=r"args\[0\] of type list cannot be pickled"):
        encode(deep)
