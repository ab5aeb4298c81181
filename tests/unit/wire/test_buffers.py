"""Private memory maps of files, which hold no descriptor."""

from __future__ import annotations

import ctypes
import sys
import tempfile

import pytest

from gigaexec.wire.buffers import map_privately


def test_a_change_of_the_map_is_not_one_of_the_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        view = map_privately(file.fileno(), 3)
        view[0] = ord("x")
        assert bytes(view) == b"xbc"
        assert bytes(map_privately(file.fileno(), 3, writable=False)) == b"abc"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="since 3.13 mmap.mmap duplicates no descriptor")
def test_the_c_library_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        map_privately(file.fileno(), 3)
        monkeypatch.setattr(ctypes, "CDLL", None)
        assert bytes(map_privately(file.fileno(), 3)) == b"abc"
