"""Reading a value from an unlinked file that other processes may still have open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaexec.calls import ValueLayout
from gigaexec.errors import ValueNotReadableError
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.descriptors import OwnedDescriptor
from gigaexec.wire.values_in import read_value_file
from gigaexec.wire.values_out import NamedResultFile, encode_as_data

ARRAY = np.ones(100_000)


def written(path: Path) -> tuple[int, int, ValueLayout]:
    """Write `ARRAY` to an unlinked file; return a read descriptor, a writer's descriptor and the layout."""
    layout = encode_as_data(ARRAY, NamedResultFile(str(path))).layout
    other, own = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    path.unlink()
    return own, other, layout


def read(descriptor: int, layout: ValueLayout) -> Any:
    value = read_value_file(OwnedDescriptor(descriptor), layout, is_exclusive=False, must_be_written=True)
    return value.decode(ResultFormat.DATA)


def test_a_file_that_others_may_have_open_is_copied_before_it_is_checked(tmp_path: Path) -> None:
    own, other, layout = written(tmp_path / "result")
    try:
        array = read(own, layout)
        os.pwrite(other, bytes(layout.total_bytes), 0)
        assert np.array_equal(array, ARRAY)
        array[0] = 2
    finally:
        os.close(other)


def test_a_file_that_ends_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other, layout = written(tmp_path / "result")
    real_preadv = os.preadv

    def cutting_preadv(descriptor: int, views: list[memoryview], offset: int) -> int:
        os.ftruncate(other, 1000)
        return real_preadv(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", cutting_preadv)
    try:
        with pytest.raises(ValueNotReadableError, match=r"ends after 1000 of \d+ bytes"):
            read(own, layout)
    finally:
        os.close(other)
