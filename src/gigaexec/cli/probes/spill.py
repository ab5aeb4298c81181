"""Probe of the spill directory."""

from __future__ import annotations

import mmap
import shutil
import stat
import tempfile
from pathlib import Path

import psutil

from gigaexec.cli.probes.finding import Finding, State
from gigaexec.cli.short_texts import memory_text
from gigaexec.errors import SpillDirectoryError
from gigaexec.pool.files.spill import prepare_directory

_TOPIC = "spill directory"
# With less free space, a few large results can fill the disk.
_MIN_FREE_KB = 1024 * 1024
_IN_MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs"})


def probe_spill_directory(path: Path) -> Finding:
    """Create the spill directory, as the first call would do, and map a file in that directory.

    Args:
        path: Path of the spill directory.
    """
    try:
        prepare_directory(path)
    except SpillDirectoryError as error:
        return Finding(_TOPIC, State.PROBLEM, str(error), data={"path": str(path)})
    found = path.stat()
    free_kb = shutil.disk_usage(path).free // 1024
    filesystem = _filesystem_of(path)
    refusal = _try_mmap(path)
    data = {
        "path": str(path),
        "uid": found.st_uid,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "free_kb": free_kb,
        "filesystem": filesystem,
        "mmap_works": not refusal,
    }
    fact = (
        f"{path}, yours (uid {data['uid']}), mode {data['mode']}, {memory_text(free_kb)} free"
        f" on {filesystem or 'an unknown filesystem'}, {refusal or 'mmap works'}"
    )
    advice = _advice(free_kb, filesystem, refusal)
    return Finding(_TOPIC, State.WARNING if advice else State.OK, fact, advice, data)


def _advice(free_kb: int, filesystem: str, refusal: str) -> str:
    move = "Set GIGAEVO_EXECUTOR_SPILL_DIR to a folder on a disk with more room."
    if free_kb < _MIN_FREE_KB:
        return f"Large results may not fit. {move}"
    if refusal:
        return "Large results are copied instead of mapped, which takes twice their memory for a moment."
    if filesystem in _IN_MEMORY_FILESYSTEMS:
        return "This folder is in memory, so large results take up memory until they are read."
    return ""


def _try_mmap(folder: Path) -> str:
    """Map a file in the folder. Return "" on success, else the reason of the failure."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"gigaexec")
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return "" if view[:] == b"gigaexec" else "mmap returns other bytes than were written"
    except (OSError, ValueError) as error:
        return f"mmap fails ({error})"


def _filesystem_of(path: Path) -> str:
    mounts = {partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)}
    for folder in (path, *path.parents):
        if str(folder) in mounts:
            return mounts[str(folder)]
    return ""
