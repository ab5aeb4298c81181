"""What the processes of a call use at one moment, read from /proc."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Where the contents of memory files and of POSIX and System V shared memory show up among open files.
_MEMORY_FILES = ("/memfd:", "/dev/shm/", "/SYSV")

# How the kernel shows the target of a descriptor whose file was removed (proc(5)).
_DELETED = " (deleted)"

_MOST_FILES_LOOKED_AT = 4096

# Each thread may have children of its own, and each is a file to read, 7 us: 4 ms for so many in all
# processes of a call, the first of each not counted. Where there are more, one pass over all processes of the
# machine takes their place, 10 us each: that costs the same however many threads there are.
_MOST_THREADS_LOOKED_AT = 512


# To count each page once the kernel walks the page tables, 5 ms for so much of them. A program can make
# gigabytes of them that hold next to nothing; those of memory in use take a five-hundredth of it.
_MOST_TABLES_WALKED_BYTES = 16 * 2**20
_DENSE_TABLES_SHARE = 100
_LONGEST_EXACT_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class SharedFiles:
    """Memory files that processes of a call use and that belong to none of them."""

    inodes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class TreeSample:
    """One look at a tree of processes.

    Args:
        pids: Which they are.
        parts_bytes: Private memory and shared memory of each, resident or swapped out, and its page tables.
        memory_bytes: Private memory and page tables of all, with shared memory and memory files, at most:
            pages that forked processes still share count for each of them, and shared arguments count. See
            `exact_memory_bytes`.
        file_bytes: Memory files that they have open, shared arguments not counted.
        peak_rss_kb: The largest process's peak of resident memory, KiB.
        deleted_bytes: Disk space of files that are open and have no name any more.
        user_time_s: CPU time in user mode of all, and of those they have waited for.
        sys_time_s: Their CPU time in the kernel.
    """

    pids: tuple[int, ...]
    parts_bytes: tuple[tuple[int, int, int], ...]
    memory_bytes: int
    file_bytes: int
    peak_rss_kb: int
    deleted_bytes: int
    user_time_s: float
    sys_time_s: float

    @property
    def cpu_time_s(self) -> float:
        return self.user_time_s + self.sys_time_s

    def exact_memory_bytes(self, shared: SharedFiles) -> int:
        """The same with each page counted once, and without shared arguments. Takes 0.5 ms for a GiB.

        A process whose page tables hold next to nothing counts as before, because that would take long. So do
        those that are left after 0.1 s.
        """
        if len(self.pids) < 2 and not shared.inodes:
            return self.memory_bytes
        private_bytes = shared_bytes = 0
        end_s = time.thread_time() + _LONGEST_EXACT_LOOK_S
        for pid, (private, shared_memory, page_tables) in zip(self.pids, self.parts_bytes, strict=True):
            is_dense = page_tables * _DENSE_TABLES_SHARE <= private + shared_memory
            is_quick = is_dense or page_tables <= _MOST_TABLES_WALKED_BYTES
            if is_quick and time.thread_time() < end_s:
                private, shared_memory = _proportional_bytes(pid, shared, end_s) or (private, shared_memory)
            private_bytes += private + page_tables
            shared_bytes += shared_memory
        return min(self.memory_bytes, private_bytes + max(self.file_bytes, shared_bytes))


@dataclass(frozen=True, slots=True)
class _Measured:
    private_bytes: int
    shared_bytes: int
    page_table_bytes: int
    peak_rss_kb: int
    user_ticks: int
    sys_ticks: int
    memory_files: dict[int, int]
    deleted_files: dict[int, int]


@functools.cache
def can_sample() -> bool:
    """Whether this system shows what `sample_tree` needs (CONFIG_PROC_CHILDREN; not on macOS)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


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
    file_bytes = sum(files.values())
    # A memory file may be mapped, or open, or both, and by several processes.
    mapped = sum(each.shared_bytes for each in measured.values())
    private_bytes = sum(each.private_bytes for each in measured.values())
    page_table_bytes = sum(each.page_table_bytes for each in measured.values())
    return TreeSample(
        pids=tuple(measured),
        parts_bytes=tuple(
            (each.private_bytes, each.shared_bytes, each.page_table_bytes) for each in measured.values()
        ),
        memory_bytes=private_bytes + page_table_bytes + max(file_bytes, mapped),
        file_bytes=file_bytes,
        peak_rss_kb=max(each.peak_rss_kb for each in measured.values()),
        deleted_bytes=sum(deleted.values()),
        user_time_s=sum(each.user_ticks for each in measured.values()) / _TICKS_PER_S,
        sys_time_s=sum(each.sys_ticks for each in measured.values()) / _TICKS_PER_S,
    )


def _tree(roots: set[int]) -> set[int]:
    """The processes of a call, whichever of their threads started them."""
    # Plain functions of os: this happens 50 times a second for each worker that is watched.
    unvisited, found = list(roots), set(roots)
    threads_left = _MOST_THREADS_LOOKED_AT
    while unvisited:
        pid = unvisited.pop()
        try:
            # Two links are the folder's own, the others count threads (proc_task_getattr of fs/proc/base.c).
            more_threads = os.stat(f"/proc/{pid}/task").st_nlink - 3
        except OSError:
            continue  # it ended
        threads_left -= more_threads
        if threads_left < 0:
            return _tree_by_parents(roots)
        try:
            threads = os.listdir(f"/proc/{pid}/task") if more_threads else (str(pid),)
        except OSError:
            continue
        for thread in threads:
            children = _children(f"/proc/{pid}/task/{thread}/children")
            unvisited.extend(children - found)
            found |= children
    return found


def _tree_by_parents(roots: set[int]) -> set[int]:
    children_of: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(_read(f"/proc/{name}/stat").rpartition(b")")[2].split(None, 2)[1])
            except OSError:
                continue  # it ended
            children_of.setdefault(parent, []).append(int(name))
    unvisited, found = list(roots), set(roots)
    while unvisited:
        children = set(children_of.get(unvisited.pop(), ())) - found
        unvisited.extend(children)
        found |= children
    return found


def _children(path: str) -> set[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return set()  # the thread ended
    try:
        text = b""
        while part := os.read(descriptor, 1 << 16):  # the kernel gives a page at a time
            text += part
    except OSError:
        return set()
    finally:
        os.close(descriptor)
    return set(map(int, text.split()))


def _measure(pid: int, not_counted: Collection[int]) -> _Measured | None:
    place = f"/proc/{pid}"
    try:
        fields = _read(f"{place}/stat").rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            # Its first thread has ended. Others may go on, and they show what is left.
            others = [task for task in os.listdir(f"{place}/task") if task != str(pid)]
            if not others:
                return None
            place = f"{place}/task/{others[0]}"
        status = _read(f"{place}/status")
    except OSError:
        return None
    memory_files, deleted_files = _open_files(place)
    user, system, children_user, children_system = map(int, fields[11:15])  # fields 14 to 17 of proc(5)
    return _Measured(
        private_bytes=(_kib(status, b"RssAnon:") + _kib(status, b"VmSwap:")) * 1024,
        shared_bytes=_kib(status, b"RssShmem:") * 1024,
        page_table_bytes=_kib(status, b"VmPTE:") * 1024,
        peak_rss_kb=_kib(status, b"VmHWM:"),
        user_ticks=user + children_user,
        sys_ticks=system + children_system,
        memory_files={inode: size for inode, size in memory_files.items() if inode not in not_counted},
        deleted_files=deleted_files,
    )


def _open_files(place: str) -> tuple[dict[int, int], dict[int, int]]:
    """The memory files that a process has open, and the files without a name: inode -> space taken up."""
    memory_files: dict[int, int] = {}
    deleted_files: dict[int, int] = {}
    folder = f"{place}/fd"
    try:
        numbers = os.listdir(folder)[:_MOST_FILES_LOOKED_AT]
    except OSError:
        return memory_files, deleted_files
    for number in numbers:
        path = f"{folder}/{number}"
        try:
            target = os.readlink(path)
            if target.startswith(_MEMORY_FILES):
                kind = memory_files
            elif target.endswith(_DELETED):
                kind = deleted_files
            else:
                continue
            found = os.stat(path)
            kind[found.st_ino] = found.st_blocks * 512
        except OSError:
            continue  # it was closed
    return memory_files, deleted_files


def _proportional_bytes(pid: int, shared: SharedFiles, end_s: float) -> tuple[int, int] | None:
    """A process's share of its private and of its shared memory, shared arguments left out.

    None where that cannot be read, and there is a process: it can hide it from a plain user
    (PR_SET_DUMPABLE), and the kernel does where its first thread has ended.
    """
    try:
        # In this order: where the process ends in between, it has no memory, rather than that of others.
        not_its_own = _mapped_bytes(pid, shared.inodes, end_s) if shared.inodes else 0
        text = _read(f"/proc/{pid}/smaps_rollup")
    except PermissionError:
        return None
    except OSError:
        return None if len(_threads(pid)) > 1 else (0, 0)
    private, shared_memory = _kib(text, b"Pss_Anon:") + _kib(text, b"SwapPss:"), _kib(text, b"Pss_Shmem:")
    return private * 1024, max(0, shared_memory * 1024 - not_its_own)


def _mapped_bytes(pid: int, inodes: Collection[int], end_s: float) -> int:
    """How much of its memory (its share of the pages) a process has mapped of certain files.

    Only of its first maps, where it has so many that this thread's CPU time runs beyond `end_s`.
    """
    total = 0
    counts = False
    with open(f"/proc/{pid}/smaps", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024 if counts else 0
            elif b"-" in line.split(None, 1)[0]:  # a map: addresses, access, offset, device, inode, name
                counts = int(line.split(None, 5)[4]) in inodes
                if time.thread_time() > end_s:
                    break
    return total


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _kib(text: bytes, name: bytes) -> int:
    start = text.find(name)
    return int(text[start + len(name) :].split(None, 1)[0]) if start >= 0 else 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
