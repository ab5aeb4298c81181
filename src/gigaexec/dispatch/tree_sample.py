"""What the processes of a call use at one moment, read from /proc."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Where the contents of memory files and of POSIX and System V shared memory show up among open files.
_MEMORY_FILES = ("/memfd:", "/dev/shm/", "/SYSV")

# How the kernel shows the target of a descriptor whose file was removed (proc(5)).
_DELETED = " (deleted)"

_MOST_FILES_LOOKED_AT = 256


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """Memory files that processes of a call use and that belong to none of them."""

    inodes: frozenset[int] = frozenset()
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TreeSample:
    """One look at a tree of processes.

    Args:
        pids: Which they are.
        memory_bytes: Private resident memory of all, with shared memory and memory files. Pages that forked
            processes still share count for each of them: see `proportional_memory_bytes`.
        peak_rss_kb: The largest process's peak of resident memory, KiB.
        deleted_bytes: Disk space of files that are open and have no name any more.
        user_time_s: CPU time in user mode of all, and of those they have waited for.
        sys_time_s: Their CPU time in the kernel.
    """

    pids: tuple[int, ...]
    memory_bytes: int
    peak_rss_kb: int
    deleted_bytes: int
    user_time_s: float
    sys_time_s: float

    @property
    def cpu_time_s(self) -> float:
        return self.user_time_s + self.sys_time_s

    @property
    def proportional_memory_bytes(self) -> int:
        """The same with shared pages counted once. Takes 0.5 ms for a GiB."""
        if len(self.pids) < 2:
            return self.memory_bytes
        return min(self.memory_bytes, sum(map(_proportional_bytes, self.pids)))


@dataclass(frozen=True, slots=True)
class _Measured:
    private_bytes: int
    shared_bytes: int
    peak_rss_kb: int
    user_ticks: int
    sys_ticks: int
    memory_files: dict[int, int]
    deleted_files: dict[int, int]


@functools.cache
def can_sample() -> bool:
    """Whether this system shows what `sample_tree` needs (CONFIG_PROC_CHILDREN; not on macOS)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110


def sample_tree(root: int, worker: int, shared: SharedFiles) -> TreeSample | None:
    """Measure the processes of a call.

    Args:
        root: The process that adopts what they orphan. Where that is not the worker itself it does not count.
        worker: The worker.
        shared: What not to count.

    Returns:
        What was found; None where nothing can be read, because they have ended or there is no /proc.
    """
    pids = _tree({root, worker})
    measured = {pid: found for pid in pids if (found := _measure(pid, shared.inodes)) is not None}
    if root != worker:
        measured.pop(root, None)
    if not measured:
        return None
    files: dict[int, int] = {}
    deleted: dict[int, int] = {}
    for each in measured.values():
        files |= each.memory_files
        deleted |= each.deleted_files
    mapped = max(each.shared_bytes for each in measured.values()) - shared.total_bytes
    # A memory file may be mapped, or open, or both, and by several processes.
    memory_bytes = sum(each.private_bytes for each in measured.values()) + max(sum(files.values()), mapped)
    return TreeSample(
        pids=tuple(measured),
        memory_bytes=memory_bytes,
        peak_rss_kb=max(each.peak_rss_kb for each in measured.values()),
        deleted_bytes=sum(deleted.values()),
        user_time_s=sum(each.user_ticks for each in measured.values()) / _TICKS_PER_S,
        sys_time_s=sum(each.sys_ticks for each in measured.values()) / _TICKS_PER_S,
    )


def _tree(roots: set[int]) -> Iterator[int]:
    unvisited, seen = list(roots), set(roots)
    while unvisited:
        pid = unvisited.pop()
        yield pid
        try:
            # Plain functions of os: this happens 50 times a second for each worker that is watched.
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                children = set(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
                unvisited.extend(children - seen)
                seen |= children
        except OSError:
            continue  # it ended


def _measure(pid: int, not_counted: Collection[int]) -> _Measured | None:
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        status = _read(f"/proc/{pid}/status")
    except OSError:
        return None
    memory_files, deleted_files = _open_files(pid)
    user, system, children_user, children_system = map(int, fields[11:15])  # fields 14 to 17 of proc(5)
    return _Measured(
        private_bytes=_kib(status, b"RssAnon:") * 1024,
        shared_bytes=_kib(status, b"RssShmem:") * 1024,
        peak_rss_kb=_kib(status, b"VmHWM:"),
        user_ticks=user + children_user,
        sys_ticks=system + children_system,
        memory_files={inode: size for inode, size in memory_files.items() if inode not in not_counted},
        deleted_files=deleted_files,
    )


def _open_files(pid: int) -> tuple[dict[int, int], dict[int, int]]:
    """The memory files that a process has open, and the files without a name: inode -> space taken up."""
    memory_files: dict[int, int] = {}
    deleted_files: dict[int, int] = {}
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)[:_MOST_FILES_LOOKED_AT]  # noqa: PTH208
    except OSError:
        return memory_files, deleted_files
    for number in numbers:
        path = f"{folder}/{number}"
        try:
            target = os.readlink(path)  # noqa: PTH115
            if target.startswith(_MEMORY_FILES):
                kind = memory_files
            elif target.endswith(_DELETED):
                kind = deleted_files
            else:
                continue
            found = os.stat(path)  # noqa: PTH116
            kind[found.st_ino] = found.st_blocks * 512
        except OSError:
            continue  # it was closed
    return memory_files, deleted_files


def _proportional_bytes(pid: int) -> int:
    try:
        text = _read(f"/proc/{pid}/smaps_rollup")
    except OSError:
        return 0
    return (_kib(text, b"Pss_Anon:") + _kib(text, b"Pss_Shmem:")) * 1024


def _kib(text: bytes, name: bytes) -> int:
    start = text.find(name)
    return int(text[start + len(name) :].split(None, 1)[0]) if start >= 0 else 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
