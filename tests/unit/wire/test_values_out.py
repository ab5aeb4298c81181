"""R20, R21: small return values are sent inline, large ones in a file."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path
from typing import Any

import pytest

from gigaexec.wire.values_out import (
    INLINE_VALUE_BYTES,
    EncodedValue,
    NamedResultFile,
    SpillWriteError,
    encode_pickled,
)


def encode_value(value: object, path: Path) -> EncodedValue:
    return encode_pickled(value, NamedResultFile(str(path)))


class RaisesLast:
    """An object that raises when pickled."""

    def __reduce__(self) -> Any:
        raise LookupError("not this")


@pytest.mark.parametrize("value", [None, [1, {"a": (2, 3)}], b"x" * (INLINE_VALUE_BYTES - 1000)])
def test_r20_a_small_value_stays_inline(value: object, tmp_path: Path) -> None:
    encoded = encode_value(value, tmp_path / "result.spill")
    assert encoded.inline is not None
    assert pickle.loads(encoded.inline) == value
    assert encoded.layout.total_bytes == len(encoded.inline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", [b"x" * INLINE_VALUE_BYTES, list(range(300_000)), [b"y" * 40_000, b"z" * 40_000]]
)
def test_r20_a_large_value_is_spilled_with_protocol_5_for_this_user_alone(
    value: object, tmp_path: Path
) -> None:
    path = tmp_path / "result.spill"
    encoded = encode_value(value, path)
    assert encoded.inline is None
    assert encoded.layout.total_bytes == path.stat().st_size
    assert path.read_bytes()[:2] == b"\x80\x05"
    assert pickle.loads(path.read_bytes()) == value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_r21_an_existing_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "result.spill"
    path.write_text("mine")
    with pytest.raises(SpillWriteError, match=r"result\.spill: File exists; 0 bytes were written"):
        encode_value(b"x" * 100_000, path)
    assert path.read_text() == "mine"


def test_r21_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    link = tmp_path / "result.spill"
    link.symlink_to(target)
    with pytest.raises(SpillWriteError):
        encode_value(b"x" * 100_000, link)
    assert not target.exists()


def test_r22_a_value_that_fails_half_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        encode_value([b"x" * 200_000, RaisesLast()], tmp_path / "result.spill")
    assert list(tmp_path.iterdir()) == []


def test_r20_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpillWriteError, match="No such file or directory"):
        encode_value(b"x" * 100_000, tmp_path / "gone" / "result.spill")
