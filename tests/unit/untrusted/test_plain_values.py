"""Checks of types that run no code of a program."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gigaexec.untrusted.plain_values import is_numpy_data, loaded_numpy
from gigaexec.wire.data.arrays_out import is_numpy
from gigaexec.wire.data.decoder import decode_quickly
from gigaexec.wire.data.encoder import encode_data


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32(1), True), (np.ones(2), True), (np.array([object()]), False), (1.0, False), (None, False)],
)
def test_numpy_data_is_recognized(value: Any, expected: bool) -> None:
    assert is_numpy_data(value) is expected


def test_numpy_that_another_thread_is_importing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    assert loaded_numpy() is None
    assert not is_numpy_data(1.5)
    assert not is_numpy([1], "ndarray")
    assert decode_quickly(encode_data([1, "a"]).head) == [1, "a"]
