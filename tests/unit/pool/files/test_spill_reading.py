"""R20, R21, R23, R24: reading a result that a worker wrote to a file."""

from __future__ import annotations

import mmap
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from tests.process.scripts import run_script

from gigaexec.calls import ValueLayout
from gigaexec.errors import SpillError, ValueNotReadableError
from gigaexec.pool.files.spill import remove_spill
from gigaexec.sandbox.policy import ResultFormat
from gigaexec.wire.values_in import ValueBytes, open_spilled_value, read_spilled_value

VALUE = {"numbers": list(range(1000)), "text": "x" * 5000}


class ExitsWhenUnpickled:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit(3)",)


@pytest.fixture
def spilled(tmp_path: Path) -> Path:
    path = tmp_path / "result.spill"
    path.write_bytes(pickle.dumps(VALUE, protocol=5))
    return path


def read(path: Path, expected_bytes: int | None = None) -> Any:
    size = path.stat().st_size if expected_bytes is None else expected_bytes
    file = open_spilled_value(str(path))
    value = read_spilled_value(file, ValueLayout("pickle", size, (), size), str(path))
    return value.decode(ResultFormat.PICKLE)


def test_r20_a_value_is_read_through_mmap_and_the_file_is_kept(
    spilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps: list[int] = []
    real_mmap = mmap.mmap

    def counting_mmap(descriptor: int, length: int, **options: Any) -> mmap.mmap:
        maps.append(length)
        return real_mmap(descriptor, length, **options)

    monkeypatch.setattr(mmap, "mmap", counting_mmap)
    assert read(spilled) == VALUE
    assert maps == [spilled.stat().st_size]
    assert spilled.exists()


def test_r20_a_file_larger_than_the_memory_that_may_be_reserved_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "sparse.spill"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    script = f"""
    import resource
    from gigaexec.calls import ValueLayout
    from gigaexec.wire.values_in import open_spilled_value, read_spilled_value
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    file = open_spilled_value({str(path)!r})
    value = read_spilled_value(file, ValueLayout("pickle", 1 << 40, (), 1 << 40), {str(path)!r})
    print(value.contents.nbytes)
    """
    assert run_script(script) == f"{1 << 40}\n"


def test_r23_a_file_is_read_if_mmap_is_refused(spilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", refuse)
    assert read(spilled) == VALUE


def test_r24_a_large_value_stays_valid_after_its_file_is_removed(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "array.spill"
    array = np.arange(200_000, dtype=np.float64)
    path.write_bytes(pickle.dumps([array, b"y" * 300_000, bytearray(b"z" * 300_000)], protocol=5))
    back, plain, mutable = read(path)
    os.truncate(path, 0)
    path.unlink()
    assert np.array_equal(back, array)
    assert plain == b"y" * 300_000
    mutable[0] = 0
    back[0] = -1.0


def test_r21_a_symbolic_link_is_not_followed(spilled: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.spill"
    link.symlink_to(spilled)
    with pytest.raises(SpillError, match="cannot be opened: Too many levels of symbolic links"):
        read(link)


def test_r21_a_named_pipe_is_refused_without_blocking(tmp_path: Path) -> None:
    path = tmp_path / "pipe.spill"
    os.mkfifo(path)
    with pytest.raises(SpillError, match="is not a regular file"):
        read(path, 10)


def test_r21_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpillError, match="is not a regular file"):
        read(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_r21_a_file_of_another_user_is_refused(spilled: Path) -> None:
    os.chown(spilled, 12345, -1)
    with pytest.raises(SpillError, match="belongs to uid 12345"):
        read(spilled)


def test_r23_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SpillError, match=r"gone\.spill cannot be opened: No such file"):
        read(tmp_path / "gone.spill", 10)


def test_r23_an_empty_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "empty.spill"
    path.touch()
    with pytest.raises(SpillError, match=r"empty\.spill is empty"):
        read(path, 10)


@pytest.mark.parametrize("change_bytes", [-1, -4000, +1])
def test_r23_a_file_of_another_size_than_written_is_reported(spilled: Path, change_bytes: int) -> None:
    written = spilled.stat().st_size
    os.truncate(spilled, written + change_bytes)
    with pytest.raises(SpillError, match=f"has {written + change_bytes} bytes; the worker wrote {written}"):
        read(spilled, written)


@pytest.mark.parametrize("kept_bytes", [1, 2, 100, -1])
def test_r23_a_truncated_pickle_is_reported(spilled: Path, kept_bytes: int) -> None:
    spilled.write_bytes(spilled.read_bytes()[:kept_bytes])
    with pytest.raises(ValueNotReadableError, match=r"result\.spill is truncated or damaged"):
        read(spilled)


def test_r23_a_value_that_exits_when_unpickled_is_an_error() -> None:
    value = pickle.dumps(ExitsWhenUnpickled())
    with pytest.raises(ValueNotReadableError, match="cannot be unpickled in the driver: SystemExit: 3"):
        ValueBytes(ValueLayout("pickle", len(value), (), len(value)), value).decode(ResultFormat.PICKLE)


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_r22_no_descriptor_is_left_after_a_refusal(spilled: Path) -> None:
    before = open_descriptors()
    for expected_bytes in (1, spilled.stat().st_size):
        try:
            read(spilled, expected_bytes)
        except SpillError:
            continue
    assert open_descriptors() == before


def test_r22_removing_a_missing_file_raises_nothing(tmp_path: Path) -> None:
    remove_spill(str(tmp_path / "gone.spill"))
