"""Scratch folders: the one place that a confined program may write to."""

from __future__ import annotations

import logging
import os
import stat
import uuid
from pathlib import Path

logger = logging.getLogger(__name__)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# An empty file takes up a name and an inode. Counted as nothing, any number would not count.
_SMALLEST_ENTRY_BYTES = 4096


class Scratch:
    """One call's folder, from its creation to `remove`.

    Args:
        path: A path that does not exist yet, in a folder of this user alone.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        os.mkdir(path, 0o700)  # noqa: PTH102 - for every call

    def used_bytes(self, max_entries: int) -> int:
        """Disk space under it, in bytes; of at most so many entries. Links are not followed."""
        total = seen = 0
        unvisited = [self.path]
        while unvisited:
            folder = unvisited.pop()
            try:
                entries = os.scandir(folder)
            except PermissionError:
                # Nobody but the program closed it, to hide what is in it.
                try:
                    os.chmod(folder, 0o700)  # noqa: PTH101
                    entries = os.scandir(folder)
                except OSError:
                    continue
            except OSError:
                continue  # it is gone
            with entries:  # not as a list: there may be a million
                for entry in entries:
                    seen += 1
                    if seen > max_entries:
                        return total
                    try:
                        total += max(entry.stat(follow_symlinks=False).st_blocks * 512, _SMALLEST_ENTRY_BYTES)
                        if entry.is_dir(follow_symlinks=False):
                            unvisited.append(entry.path)
                    except OSError:
                        continue
        return total

    def remove(self) -> None:
        """Remove it with all that is in it, however deep. Does not raise. No process of the call may run."""
        try:
            os.rmdir(self.path)  # noqa: PTH106 - mostly it is empty
            return
        except FileNotFoundError:
            return
        except OSError:
            pass
        try:
            remove_folder(self.path)
        except OSError as error:
            logger.warning("the scratch folder %s could not be removed: %s", self.path, error)


def remove_folder(path: str) -> None:
    """Remove a folder that a hostile program has filled. Follows no link, and no depth is too great.

    A folder in it is moved up before its turn, so that no path grows long and no recursion deep.

    Raises:
        OSError: Something cannot be removed.
    """
    os.chmod(path, 0o700)  # noqa: PTH101 - it may be closed even to its owner
    top = os.open(path, _FOLDER_FLAGS)
    try:
        prefix, moved = uuid.uuid4().hex, 0  # a name that nobody has taken
        pending = _remove_files(top)
        while pending:
            name = pending.pop()
            folder = _open_folder(top, name)
            try:
                for inner in _remove_files(folder):
                    moved += 1
                    new_name = f"{prefix}-{moved}"
                    os.chmod(inner, 0o700, dir_fd=folder)  # its ".." changes
                    os.rename(inner, new_name, src_dir_fd=folder, dst_dir_fd=top)
                    pending.append(new_name)
            finally:
                os.close(folder)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    Path(path).rmdir()


def _remove_files(folder: int) -> list[str]:
    """Remove what is no folder; return the names of the folders."""
    folders = []
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def _open_folder(parent: int, name: str) -> int:
    # A folder may be closed even to its owner. Not through a link: nobody else acts here any more.
    os.chmod(name, 0o700, dir_fd=parent)
    return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
