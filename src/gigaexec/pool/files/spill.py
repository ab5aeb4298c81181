"""The spill directory: one file for each result that is too large to send on a socket.

    <spill_dir>/pool-<token>.lock          locked with flock(2) while the pool lives
    <spill_dir>/pool-<token>-<n>.spill     the result of one call, at a path chosen by the driver
    <spill_dir>/pool-<token>.programs/     the texts of programs, see `programs`
    <spill_dir>/pool-<token>-<n>.scratch/  the scratch folder of one confined call

If another pool can lock the lock file, the pool that made the file is dead, whatever killed it. The next pool
in the directory removes all files of the dead pool. A process id in the file names would not show which pools
are dead: it has no meaning in another PID namespace, and may be reused.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import os
import stat
import threading
import uuid
from pathlib import Path

from gigaexec.errors import SpillDirectoryError
from gigaexec.pool.files.scratch import Scratch, remove_folder

logger = logging.getLogger(__name__)

_LOCK_SUFFIX = ".lock"
_SPILL_SUFFIX = ".spill"
_SCRATCH_SUFFIX = ".scratch"
_PROGRAMS_SUFFIX = ".programs"


def prepare_directory(path: Path) -> None:
    """Create the directory with mode 0700 if it is missing, and check that only this user has access.

    Raises:
        SpillDirectoryError: The path is not a directory, belongs to another user, is open to others, or
            cannot be created.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SpillDirectoryError(
            f"the spill directory {path} cannot be created: {error.strerror}. "
            "Set spill_dir, or GIGAEVO_EXECUTOR_SPILL_DIR, to a folder on a writable disk."
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise SpillDirectoryError(f"the spill directory {path} is not a directory: set another spill_dir")
    if found.st_uid != os.getuid():
        raise SpillDirectoryError(
            f"the spill directory {path} belongs to uid {found.st_uid}, this process is uid {os.getuid()}. "
            "Results are unpickled, so the folder must be yours: set another spill_dir."
        )
    if found.st_mode & 0o077:
        raise SpillDirectoryError(
            f"the spill directory {path} has mode {stat.S_IMODE(found.st_mode):04o} and is open to others. "
            f"Run: chmod 700 {path}"
        )


class SpillDirectory:
    """The files of one pool in a spill directory, until `close`."""

    def __init__(self, path: Path) -> None:
        """Prepare the directory, take a lock in it and remove the files of dead pools.

        Raises:
            SpillDirectoryError: The directory cannot be used.
            OSError: No descriptor is free.
        """
        prepare_directory(path)
        self._path = path
        self._numbers = itertools.count(1)
        # `repair` and `close` are called on the dispatcher's thread and on threads of callers.
        self._repairing = threading.Lock()
        try:
            self._token, self._lock = _take_lock(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise  # out of descriptors: the directory is not the cause
            raise SpillDirectoryError(
                f"the spill directory {path} is not writable: {error.strerror}. "
                "Set spill_dir, or GIGAEVO_EXECUTOR_SPILL_DIR, to a folder on a writable disk."
            ) from error
        try:
            _sweep(path)
        except OSError as error:  # harmless for this pool; the next pool tries again
            logger.warning("files of dead pools in %s could not be removed: %s", path, error)

    def new_path(self) -> str:
        """Return a new path for the spill file of one call. The file does not exist yet."""
        return f"{self._path}/pool-{self._token}-{next(self._numbers)}{_SPILL_SUFFIX}"

    @property
    def folder(self) -> str:
        """Path of the directory."""
        return str(self._path)

    @property
    def programs_folder(self) -> str:
        """Path of the folder for the texts of programs. Workers create the folder."""
        return f"{self._path}/pool-{self._token}{_PROGRAMS_SUFFIX}"

    def new_scratch(self) -> Scratch:
        """Create the scratch folder of one call. Raises OSError if the folder cannot be created."""
        try:
            return self._make_scratch()
        except FileNotFoundError:
            self.repair()
            return self._make_scratch()

    def _make_scratch(self) -> Scratch:
        return Scratch(f"{self._path}/pool-{self._token}-{next(self._numbers)}{_SCRATCH_SUFFIX}")

    def repair(self) -> None:
        """Recreate the directory if it was removed, for example by a cleaner of temporary files.

        Several threads may call this method at the same time.
        """
        with self._repairing:
            if self._lock is None or (self._path / f"pool-{self._token}{_LOCK_SUFFIX}").exists():
                return
            logger.warning("the spill directory %s was removed while in use; recreating it", self._path)
            try:
                prepare_directory(self._path)
                token, lock = _take_lock(self._path)
            except (OSError, SpillDirectoryError) as error:
                logger.warning("the spill directory %s cannot be recreated: %s", self._path, error)
                return
            old, self._token, self._lock = self._lock, token, lock
            os.close(old)

    def close(self) -> None:
        """Remove all files of this pool and release the lock. Calling it twice is safe."""
        with self._repairing:
            if self._lock is None:
                return
            lock, self._lock = self._lock, None
        try:
            _remove_pool(self._path, self._token)
        except OSError as error:  # for example, no descriptor is free; the next pool tries again
            logger.warning("files %s/pool-%s* could not be removed: %s", self._path, self._token, error)
        os.close(lock)

    def close_after_fork(self) -> None:
        """Close the lock's descriptor in a forked child. The files and the lock belong to the parent."""
        self._repairing = threading.Lock()  # another thread may have held the old lock at the fork
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_spill(path: str) -> None:
    """Remove a spill file if it exists. Does not raise."""
    try:
        os.unlink(path)  # noqa: PTH108 - runs for every call; pathlib takes twice as long
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
        # Before this pool could lock the file, another pool locked it, and removed it as the file of a dead
        # pool. Try again with a new file.
        os.close(descriptor)


def _sweep(directory: Path) -> None:
    for lock in directory.glob(f"pool-*{_LOCK_SUFFIX}"):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # the lock's pool ended just now
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_pool(directory, lock.name.removeprefix("pool-").removesuffix(_LOCK_SUFFIX))
        except OSError:
            continue  # the lock's pool is alive
        finally:
            os.close(descriptor)


def _remove_pool(directory: Path, token: str) -> None:
    for spilled in directory.glob(f"pool-{token}-*{_SPILL_SUFFIX}"):
        remove_spill(str(spilled))
    scratch_folders = directory.glob(f"pool-{token}-*{_SCRATCH_SUFFIX}")
    for folder in (*scratch_folders, *directory.glob(f"pool-{token}{_PROGRAMS_SUFFIX}")):
        try:
            remove_folder(str(folder))
        except OSError as error:
            logger.warning("the folder %s could not be removed: %s", folder, error)
    remove_spill(str(directory / f"pool-{token}{_LOCK_SUFFIX}"))
