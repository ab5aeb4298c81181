"""The spill directory: a file for each result too large to travel on a socket.

    <spill_dir>/pool-<token>.lock          held with flock(2) for as long as the pool lives
    <spill_dir>/pool-<token>-<n>.spill     the result of one call; the driver names it, the worker writes it
    <spill_dir>/pool-<token>-<n>.scratch/  the scratch folder of one confined call

A pool whose lock can be taken is dead, whatever killed it, and its files are swept by the next pool that
uses the directory. A lock works across pid namespaces and survives the reuse of pids; process ids in file
names were rejected for that reason.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import stat
import uuid
from pathlib import Path

from gigaexec.errors import SpillDirectoryError
from gigaexec.pool.files.scratch import Scratch, remove_folder

logger = logging.getLogger(__name__)

_LOCK_SUFFIX = ".lock"
_SPILL_SUFFIX = ".spill"
_SCRATCH_SUFFIX = ".scratch"


def prepare_directory(path: Path) -> None:
    """Make the directory with mode 0700 where it is missing, and check that it is this user's alone.

    Raises:
        SpillDirectoryError: It is none, or another user's, or open to others, or cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SpillDirectoryError(
            f"the spill directory {path} cannot be made: {error.strerror}. "
            "Set spill_dir, or GIGAEVO_EXECUTOR_SPILL_DIR, to a folder on a writable disk."
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise SpillDirectoryError(f"the spill directory {path} is not a directory")
    if found.st_uid != os.getuid():
        raise SpillDirectoryError(
            f"the spill directory {path} belongs to uid {found.st_uid}, this process is uid {os.getuid()}. "
            "Results are read with pickle, so the folder must be yours: set another spill_dir."
        )
    if found.st_mode & 0o077:
        raise SpillDirectoryError(
            f"the spill directory {path} has mode {stat.S_IMODE(found.st_mode):04o} and is open to others. "
            f"Run: chmod 700 {path}"
        )


class SpillDirectory:
    """One pool's use of a spill directory, from its creation to `close`."""

    def __init__(self, path: Path) -> None:
        """Prepare the directory, take a lock in it and sweep what dead pools left.

        Raises:
            SpillDirectoryError: The directory cannot be used.
            OSError: No descriptor is free.
        """
        prepare_directory(path)
        self._path = path
        self._numbers = itertools.count(1)
        try:
            self._token, self._lock = _take_lock(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise  # it says nothing about the directory
            raise SpillDirectoryError(
                f"nothing can be written to the spill directory {path}: {error.strerror}. "
                "Set spill_dir, or GIGAEVO_EXECUTOR_SPILL_DIR, to a folder on a writable disk."
            ) from error
        try:
            _sweep(path)
        except OSError as error:  # this pool can do without; so does the next one that tries
            logger.warning("the spill directory %s could not be swept: %s", path, error)

    def new_path(self) -> str:
        """Name a file that does not exist yet, for one call's result."""
        return f"{self._path}/pool-{self._token}-{next(self._numbers)}{_SPILL_SUFFIX}"

    @property
    def folder(self) -> str:
        """The directory itself."""
        return str(self._path)

    def new_scratch(self) -> Scratch:
        """Make a folder for one call's files. Raises OSError."""
        try:
            return self._make_scratch()
        except FileNotFoundError:
            self.repair()
            return self._make_scratch()

    def _make_scratch(self) -> Scratch:
        return Scratch(f"{self._path}/pool-{self._token}-{next(self._numbers)}{_SCRATCH_SUFFIX}")

    def repair(self) -> None:
        """Make the directory anew where somebody removed it, a cleaner of temporary files say."""
        if self._lock is None or (self._path / f"pool-{self._token}{_LOCK_SUFFIX}").exists():
            return
        logger.warning("the spill directory %s was removed while in use; it is made anew", self._path)
        try:
            prepare_directory(self._path)
            token, lock = _take_lock(self._path)
        except (OSError, SpillDirectoryError) as error:
            logger.warning("the spill directory cannot be made anew: %s", error)
            return
        os.close(self._lock)
        self._token, self._lock = token, lock

    def close(self) -> None:
        """Remove all files of this pool and let the lock go. Twice is safe."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        try:
            _remove_pool(self._path, self._token)
        except OSError as error:  # no descriptor is free to list the folder, say; the next pool sweeps it
            logger.warning("the spill directory %s could not be cleaned: %s", self._path, error)
        os.close(lock)

    def close_after_fork(self) -> None:
        """In a forked child: let go of the lock's descriptor, leave the files to the parent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_spill(path: str) -> None:
    """Remove a spill file if it is there."""
    try:
        os.unlink(path)  # noqa: PTH108 - a system call for every call; pathlib doubles its cost
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("the spill file %s could not be removed: %s", path, error)


def _take_lock(directory: Path) -> tuple[str, int | None]:
    while True:
        token = uuid.uuid4().hex[:12]
        path = directory / f"pool-{token}{_LOCK_SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 1:
                return token, descriptor
        except BlockingIOError:
            pass
        # A sweeper saw the file between its creation and its lock and took the pool for dead.
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    for lock in directory.glob(f"pool-*{_LOCK_SUFFIX}"):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # it ended just now
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_pool(directory, lock.name.removeprefix("pool-").removesuffix(_LOCK_SUFFIX))
        except OSError:
            continue  # its pool is alive
        finally:
            os.close(descriptor)


def _remove_pool(directory: Path, token: str) -> None:
    for spilled in directory.glob(f"pool-{token}-*{_SPILL_SUFFIX}"):
        remove_spill(str(spilled))
    for folder in directory.glob(f"pool-{token}-*{_SCRATCH_SUFFIX}"):
        try:
            remove_folder(str(folder))
        except OSError as error:
            logger.warning("the scratch folder %s could not be removed: %s", folder, error)
    remove_spill(str(directory / f"pool-{token}{_LOCK_SUFFIX}"))
