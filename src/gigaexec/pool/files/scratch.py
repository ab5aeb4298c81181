"""Scratch folders, the only place that a confined program may write to by default."""

from __future__ import annotations

import logging
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_PLACE_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Minimum size that is counted for each entry. An empty file also uses a name and an inode: if it counted as 0
# bytes, any number of empty files would be allowed.
_SMALLEST_ENTRY_BYTES = 4096

# Maximum number of nested folders that stay open during a walk. From a deeper folder, the walk returns to the
# parent through "..". If a program has moved the folder meanwhile, the walk continues in the deepest folder
# that is still open: the rest of the branch below that folder is not counted.
_MOST_OPEN_LEVELS = 32


class Scratch:
    """The scratch folder of one call, until `remove`.

    Args:
        path: A path that does not exist yet, in a folder that only this user can access.

    Raises:
        OSError: The folder cannot be created.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.mkdir(path, 0o700)  # noqa: PTH102 - runs for every call; pathlib takes twice as long

    def used_bytes(self, max_entries: int) -> int:
        """Return the disk space of the folder's contents, in bytes. Links are not followed.

        The program may still run and change the contents. A folder whose mode forbids reading gets mode 0700.

        Args:
            max_entries: Maximum number of entries to count.
        """
        return _Walk(max_entries).used_bytes(self.path)

    def remove(self) -> None:
        """Remove the folder and its contents, at any depth. Does not raise. The call must have ended."""
        try:
            os.rmdir(self.path)  # noqa: PTH106 - runs for every call; pathlib takes twice as long
            return
        except FileNotFoundError:
            return
        except OSError:
            pass
        try:
            remove_folder(self.path)
        except OSError as error:
            logger.warning("the scratch folder %s could not be removed: %s", self.path, error)


@dataclass(slots=True)
class _Level:
    """A folder on the path to the current folder, and the names of its subfolders that must still be walked.

    `descriptor` is None if it was closed. That keeps the number of open descriptors small.
    """

    descriptor: int | None
    identity: tuple[int, int]
    pending: list[str]

    def close(self) -> None:
        number, self.descriptor = self.descriptor, None
        if number is not None:
            os.close(number)


class _Walk:
    """Adds up the disk space of a folder tree that a program may be changing.

    Folders are opened relative to descriptors, because a path can be too long to open.
    """

    def __init__(self, max_entries: int) -> None:
        self._entries_left = max_entries
        self._total_bytes = 0
        self._levels: list[_Level] = []

    def used_bytes(self, path: str) -> int:
        try:
            self._enter(path, None)
            while self._levels and self._entries_left > 0:
                level = self._levels[-1]
                if level.descriptor is not None and level.pending:
                    self._enter(level.pending.pop(), level.descriptor)
                else:
                    self._leave()
        finally:
            for level in self._levels:
                level.close()
        return self._total_bytes

    def _enter(self, name: str, parent: int | None) -> None:
        try:
            folder = _open_folder(parent, name)
        except OSError:
            return  # the entry was removed meanwhile
        if len(self._levels) > _MOST_OPEN_LEVELS:
            self._levels[-1].close()
        level = _Level(folder, _identity(folder), [])
        self._levels.append(level)
        try:
            # scandir() yields one entry at a time; a folder may contain a million entries.
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entries_left -= 1
                    if self._entries_left < 0:
                        return
                    self._add(entry, level)
        except OSError:
            pass  # the entry was removed meanwhile

    def _add(self, entry: os.DirEntry[str], level: _Level) -> None:
        try:
            used_bytes = entry.stat(follow_symlinks=False).st_blocks * 512
            self._total_bytes += max(used_bytes, _SMALLEST_ENTRY_BYTES)
            if entry.is_dir(follow_symlinks=False):
                level.pending.append(entry.name)
        except OSError:
            pass  # the entry was removed meanwhile

    def _leave(self) -> None:
        left = self._levels.pop()
        parent = self._levels[-1] if self._levels else None
        try:
            if parent is not None and parent.descriptor is None and left.descriptor is not None:
                parent.descriptor = _open_if_same(left.descriptor, "..", parent.identity)
        finally:
            left.close()


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _open_if_same(parent: int, name: str, identity: tuple[int, int]) -> int | None:
    try:
        folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except OSError:
        return None
    if _identity(folder) == identity:
        return folder
    os.close(folder)
    return None


def remove_folder(path: str) -> None:
    """Remove a folder whose contents may be hostile. Links are not followed; any depth is allowed.

    Each subfolder is moved directly into the folder at `path` before it is removed. So paths stay short, and
    no recursion is needed.

    Raises:
        OSError: An entry cannot be removed.
    """
    top = _open_folder(None, path)
    try:
        prefix, moved = uuid.uuid4().hex, 0  # a program cannot guess the prefix
        pending = _remove_files(top)
        while pending:
            name = pending.pop()
            folder = _open_folder(top, name)
            try:
                for inner in _remove_files(folder):
                    moved += 1
                    new_name = f"{prefix}-{moved}"
                    # _open_folder makes the subfolder writable: rename(2) must update its "..".
                    os.close(_open_folder(folder, inner))
                    os.rename(inner, new_name, src_dir_fd=folder, dst_dir_fd=top)
                    pending.append(new_name)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    Path(path).rmdir()


def _remove_files(folder: int) -> list[str]:
    """Remove all entries of a folder except subfolders. Returns the names of the subfolders."""
    folders = []
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def _open_folder(parent: int | None, name: str) -> int:
    """Open a folder for reading. If the mode restricts the owner, the mode is changed to 0700 first.

    The mode is changed through a descriptor, never by name: a program can replace the folder with a link at
    any time, and then the mode of the link's target would be changed.

    Raises:
        OSError: The folder does not exist, is a link, or belongs to another user.
    """
    place = os.open(name, _PLACE_FLAGS, dir_fd=parent)
    try:
        if os.fstat(place).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # noqa: PTH101 - fchmod takes no O_PATH descriptor
        return os.open(".", _FOLDER_FLAGS, dir_fd=place)
    finally:
        os.close(place)
