"""R21, R22: a spill directory is private to its user, and only files of dead pools are removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import wait_until
from tests.process.scripts import read_json, started_script

from gigaexec.errors import SpillDirectoryError
from gigaexec.pool.files import spill
from gigaexec.pool.files.spill import SpillDirectory, prepare_directory

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")

HOLDS_A_POOL = """
    import json, pathlib, sys
    from gigaexec.pool.files.spill import SpillDirectory
    directory = SpillDirectory(pathlib.Path(sys.argv[1]))
    path = pathlib.Path(directory.new_path())
    path.write_bytes(b"a result")
    print(json.dumps(str(path)), flush=True)
    sys.stdin.read()
"""


@contextmanager
def pool_of_another_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process with a pool in the folder; yield the process and the path of its spill file."""
    with started_script(HOLDS_A_POOL, str(folder)) as process:
        yield process, Path(read_json(process))


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_r21_a_spill_directory_is_created_with_its_parents_for_this_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "spill"
    before = os.umask(0o000)
    try:
        prepare_directory(folder)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    prepare_directory(folder)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777, 0o1777, 0o720])
def test_r21_a_folder_open_to_others_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SpillDirectoryError, match=f"has mode {mode:04o} and is open to others.*chmod 700"):
        prepare_directory(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == mode, "the mode of a refused folder must not change"


@needs_root
def test_r21_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, -1)
    with pytest.raises(SpillDirectoryError, match="belongs to uid 12345, this process is uid 0"):
        SpillDirectory(folder)


def test_r21_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpillDirectoryError, match=r"file cannot be created: File exists"):
        prepare_directory(tmp_path / "file")


def test_r21_a_folder_that_cannot_be_created_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        SpillDirectoryError, match=r"cannot be created: Not a directory.*GIGAEVO_EXECUTOR_SPILL_DIR"
    ):
        SpillDirectory(tmp_path / "file" / "spill")


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc, where even root cannot create a folder"
)
def test_r21_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(SpillDirectoryError, match="cannot be created"):
        SpillDirectory(Path("/proc/self/spill"))


@pytest.mark.parametrize("target_exists", [True, False])
def test_r21_a_symbolic_link_is_refused(tmp_path: Path, target_exists: bool) -> None:
    target = tmp_path / "target"
    if target_exists:
        target.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(SpillDirectoryError):
        prepare_directory(link)


def test_r22_a_closed_pool_leaves_no_file_and_may_be_closed_twice(tmp_path: Path) -> None:
    directory = SpillDirectory(tmp_path / "spill")
    for _ in range(3):
        Path(directory.new_path()).write_bytes(b"x")
    assert len(names_in(tmp_path / "spill")) == 4
    directory.close()
    directory.close()
    assert names_in(tmp_path / "spill") == set()


def test_r31_two_pools_share_a_folder_and_each_removes_its_own_files(tmp_path: Path) -> None:
    first, second = SpillDirectory(tmp_path / "spill"), SpillDirectory(tmp_path / "spill")
    paths = {first.new_path(), first.new_path(), second.new_path(), second.new_path()}
    assert len(paths) == 4
    theirs = Path(second.new_path())
    theirs.write_bytes(b"x")
    first.close()
    assert theirs.read_bytes() == b"x"
    second.close()
    assert names_in(tmp_path / "spill") == set()


def test_r22_a_living_pool_of_another_process_keeps_its_files(tmp_path: Path) -> None:
    with pool_of_another_process(tmp_path / "spill") as (_, their_file):
        SpillDirectory(tmp_path / "spill").close()
        assert their_file.read_bytes() == b"a result"


def test_r22_files_of_a_killed_process_are_swept_by_the_next_pool(tmp_path: Path) -> None:
    with pool_of_another_process(tmp_path / "spill") as (process, their_file):
        process.kill()
        process.wait()
        assert their_file.exists()
        directory = SpillDirectory(tmp_path / "spill")
        left = names_in(tmp_path / "spill")
        directory.close()
        assert len(left) == 1, f"expected the new pool's lock alone, found {left}"


def test_r22_the_sweep_touches_nothing_but_spill_files_and_locks(tmp_path: Path) -> None:
    folder = tmp_path / "spill"
    folder.mkdir(mode=0o700)
    (folder / "notes.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (folder / "pool-0123456789ab.lock").symlink_to(outside)
    SpillDirectory(folder).close()
    assert (folder / "notes.txt").read_text() == "mine"
    assert outside.read_text() == "mine"


def test_r22_a_forked_child_releases_the_lock_and_keeps_the_files(tmp_path: Path) -> None:
    directory = SpillDirectory(tmp_path / "spill")
    path = Path(directory.new_path())
    path.write_bytes(b"x")
    directory.close_after_fork()
    directory.close()
    assert path.exists()
    SpillDirectory(tmp_path / "spill").close()
    assert not path.exists(), "the pool's lock is still held"


def test_r22_threads_that_repair_a_removed_directory_at_once_leave_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "spill"
    directory = SpillDirectory(folder)
    shutil.rmtree(folder)
    both_inside = threading.Barrier(2)

    def prepare_together(path: Path) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # only one thread at a time comes here
            both_inside.wait(0.3)
        prepare_directory(path)

    monkeypatch.setattr(spill, "prepare_directory", prepare_together)
    with ThreadPoolExecutor(2) as threads:
        for repair in [threads.submit(directory.repair) for _ in range(2)]:
            repair.result()
    locks = names_in(folder)
    directory.close()
    assert len(locks) == 1, f"expected one lock, found {locks}"
    assert names_in(folder) == set()


def test_r22_a_fork_during_a_repair_does_not_block_the_child(tmp_path: Path) -> None:
    directory = SpillDirectory(tmp_path / "spill")
    with directory._repairing:  # as if another thread repaired the directory at the fork
        child = os.fork()
        if child == 0:
            directory.close_after_fork()
            directory.repair()
            directory.close()
            os._exit(0)
        wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] == child, what="the child ends")
    directory.close()
