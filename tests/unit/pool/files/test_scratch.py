"""Scratch folders with hostile content: measured and removed without following symbolic links."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.process.scripts import run_script

from gigaexec.pool.files import scratch
from gigaexec.pool.files.scratch import Scratch

MEBIBYTE = 2**20
FLAGS = os.O_RDONLY | os.O_DIRECTORY


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Scratch]:
    made = Scratch(str(tmp_path / "scratch"))
    yield made
    made.remove()
    assert not Path(made.path).exists()


def fill(name: str, parent: int) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=parent)
    os.write(file, b"x" * MEBIBYTE)
    os.close(file)


@contextmanager
def nested(top: str, levels: int, name: str = "d") -> Iterator[int]:
    """Create a chain of `levels` nested folders and yield a descriptor of the innermost one."""
    current = os.open(top, FLAGS)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=current)
            inner = os.open(name, FLAGS, dir_fd=current)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("levels", "name"), [(3, "d"), (30, "d" * 200), (2000, "d")])
def test_deep_folders_are_counted_with_few_descriptors(folder: Scratch, levels: int, name: str) -> None:
    with nested(folder.path, levels, name) as innermost:
        fill("large", innermost)
        before = open_descriptors()
        assert MEBIBYTE + levels * 4096 <= folder.used_bytes(10**6) < 2 * MEBIBYTE + levels * 8192
        assert open_descriptors() == before


def test_siblings_of_deep_folders_are_counted(folder: Scratch) -> None:
    current = os.open(folder.path, FLAGS)
    for _ in range(100):
        for name in ("a", "b"):
            os.mkdir(name, dir_fd=current)
            inner = os.open(name, FLAGS, dir_fd=current)
            fill("large", inner)
            if name == "b":
                os.close(current)
                current = inner
            else:
                os.close(inner)
    os.close(current)
    assert folder.used_bytes(10**6) >= 200 * MEBIBYTE


def test_the_number_of_entries_is_bounded(folder: Scratch) -> None:
    for number in range(50):
        Path(folder.path, str(number)).touch()
    assert folder.used_bytes(20) == 20 * 4096
    assert folder.used_bytes(1000) == 50 * 4096


def test_the_walk_does_not_follow_a_folder_that_is_moved_out(
    folder: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with nested(str(outside), 1) as elsewhere:
        fill("large", elsewhere)
    with nested(folder.path, 50) as innermost:
        fill("large", innermost)
    real_leave = scratch._Walk._leave

    def moving_leave(walk: scratch._Walk) -> None:
        if len(walk._levels) == 45:
            moved = walk._levels[-1].descriptor
            assert moved is not None
            walk._levels[-2].pending.append("d")
            Path(f"/proc/self/fd/{moved}").readlink().rename(outside / "moved")
        real_leave(walk)

    monkeypatch.setattr(scratch._Walk, "_leave", moving_leave)
    assert folder.used_bytes(10**6) < 2 * MEBIBYTE
    assert (outside / "moved").exists()


_MEASURES_A_FOLDER_THAT_BECOMES_A_LINK = """
    import os, pathlib, stat, sys
    from gigaexec.pool.files.scratch import Scratch, remove_folder

    if os.getuid() == 0:  # as nobody, because root may enter folders of any mode
        os.chown(sys.argv[1], 65534, 65534)
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
    private = pathlib.Path(sys.argv[1], "private")
    private.mkdir()
    private.chmod(0o755)
    folder = Scratch(sys.argv[1] + "/scratch")
    closed = pathlib.Path(folder.path, "d")

    def restore_closed_folder():
        if closed.is_symlink():
            closed.unlink()
        closed.mkdir(exist_ok=True)
        closed.chmod(0)

    def replace_by_link(event, arguments):
        # A program could win this race just before chmod.
        if event == "os.chmod" and is_watching and not closed.is_symlink():
            closed.rmdir()
            closed.symlink_to(private)

    is_watching = False
    sys.addaudithook(replace_by_link)
    for action in (lambda: folder.used_bytes(100), lambda: remove_folder(folder.path)):
        restore_closed_folder()
        is_watching = True
        try:
            action()
        except OSError:
            pass
        is_watching = False
    print(oct(private.stat().st_mode & 0o777))
"""


def test_a_closed_folder_that_becomes_a_link_changes_no_mode_elsewhere() -> None:
    # Not tmp_path: only root can enter pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        assert run_script(_MEASURES_A_FOLDER_THAT_BECOMES_A_LINK, folder).strip() == "0o755"


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o300])
def test_the_contents_of_a_closed_folder_are_counted_and_removed(mode: int) -> None:
    source = f"""
        import os, pathlib, sys
        from gigaexec.pool.files.scratch import Scratch

        if os.getuid() == 0:
            os.chown(sys.argv[1], 65534, 65534)
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        folder = Scratch(sys.argv[1] + "/scratch")
        inner = pathlib.Path(folder.path, "d", "e")
        inner.mkdir(parents=True)
        (inner / "large").write_bytes(bytes(2**20))
        for closed in (inner, inner.parent, inner.parent.parent):
            closed.chmod({mode})
        print(folder.used_bytes(100) >= 2**20)
        for closed in (inner.parent.parent, inner.parent, inner):
            closed.chmod(0o700)
        for closed in (inner, inner.parent, inner.parent.parent):
            closed.chmod({mode})
        folder.remove()
        print(os.listdir(sys.argv[1]))
    """
    with tempfile.TemporaryDirectory() as folder:
        assert run_script(source, folder).split() == ["True", "[]"]
