"""Folders for the text of programs in the spill directory, one for each text.

    <spill_dir>/pool-<token>.programs/<n>/user_code.py

The first worker that runs a program writes the file. Later calls with the same program share the folder.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable

from gigaexec.pool.files.scratch import remove_folder

logger = logging.getLogger(__name__)

# A search evaluates each program a few times within minutes. A thousand folders occupy 8 MB on ext4.
_UNUSED_KEPT = 1000

_Key = tuple[str, str, str | None]


class ProgramFolders:
    """Assigns a folder to each program, and selects folders to remove. Any thread may call the methods."""

    def __init__(self, *, unused_kept: int = _UNUSED_KEPT) -> None:
        self._unused_kept = unused_kept
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._folders: OrderedDict[_Key, str] = OrderedDict()  # least recently used first
        self._in_use: dict[_Key, int] = {}

    def take(self, root: str, code: str, file: str | None) -> tuple[str, list[str]]:
        """Return the folder of a program, for one call. `give_back` ends the use.

        Args:
            root: The folder that contains the folders of all programs.
            code: Text of the program.
            file: Path of the file that the text came from, or None.

        Returns:
            Path of the folder, which may not exist yet, and paths of unused folders to remove.
        """
        key = root, code, file
        with self._lock:
            if key not in self._folders:
                self._folders[key] = f"{root}/{next(self._numbers)}"
            self._folders.move_to_end(key)
            self._in_use[key] = self._in_use.get(key, 0) + 1
            return self._folders[key], self._drop_unused()

    def give_back(self, root: str, code: str, file: str | None) -> None:
        """Record that one call no longer uses the folder."""
        key = root, code, file
        with self._lock:
            self._in_use[key] -= 1
            if not self._in_use[key]:
                del self._in_use[key]

    def _drop_unused(self) -> list[str]:
        # Half of the folders at once: the removal runs on another thread, which takes longer to start than
        # to remove one folder.
        if len(self._folders) - len(self._in_use) <= self._unused_kept:
            return []
        unused = [key for key in self._folders if key not in self._in_use]
        return [self._folders.pop(key) for key in unused[: -(self._unused_kept // 2) or None]]


def remove_program_folders(paths: Iterable[str]) -> None:
    """Remove folders of programs. Logs the folders that cannot be removed."""
    for path in paths:
        try:
            remove_folder(path)
        except FileNotFoundError:
            pass  # the program's worker never wrote a file
        except OSError as error:
            logger.warning("the folder %s of a program could not be removed: %s", path, error)
