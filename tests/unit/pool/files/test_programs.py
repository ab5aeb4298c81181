"""R100: folders for the texts of programs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gigaexec.pool.files.programs import ProgramFolders, remove_program_folders


def test_calls_of_one_program_share_a_folder() -> None:
    folders = ProgramFolders()
    first, _ = folders.take("/programs", "a = 1", None)
    assert folders.take("/programs", "a = 1", None) == (first, [])
    others = {
        folders.take(*each)[0]
        for each in (("/programs", "b", None), ("/programs", "a = 1", "/f"), ("/others", "a = 1", None))
    }
    assert len(others | {first}) == 4
    assert first.startswith("/programs/")


def test_the_least_recently_used_folders_are_dropped_but_none_in_use() -> None:
    folders = ProgramFolders(unused_kept=4)
    held, _ = folders.take("/programs", "held", None)
    dropped: list[str] = []
    for number in range(6):
        _, unused = folders.take("/programs", str(number), None)
        folders.give_back("/programs", str(number), None)
        dropped += unused
    assert held not in dropped
    assert dropped == ["/programs/2", "/programs/3", "/programs/4"]
    again, _ = folders.take("/programs", "0", None)
    assert again not in dropped


def test_folders_can_be_taken_by_several_threads() -> None:
    folders = ProgramFolders(unused_kept=2)

    def use(number: int) -> None:
        for _ in range(200):
            folders.take("/programs", str(number % 5), None)
            folders.give_back("/programs", str(number % 5), None)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert folders.take("/programs", "new", None)[0]


def test_removed_folders_need_not_exist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1" / "__pycache__").mkdir(parents=True)
    (tmp_path / "1" / "user_code.py").touch()
    (tmp_path / "3").touch()
    remove_program_folders([f"{tmp_path}/{number}" for number in (1, 2, 3)])
    assert [each.name for each in tmp_path.iterdir()] == ["3"]
    (record,) = caplog.records
    assert f"{tmp_path}/3" in record.getMessage()
