"""The resource use of a call's processes at one moment, read from /proc."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

from gigaexec.pool.supervision.process_tree import children_of_thread

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Prefixes of link targets in /proc/<pid>/fd: memfds, POSIX shared memory, System V shared memory.
_MEMORY_FILES = ("/memfd:", "/dev/shm/", "/SYSV")

# Suffix of the link target in /proc/<pid>/fd if the file was removed (proc(5)).
_DELETED = " (deleted)"

_MOST_FILES_SAMPLED = 4096

# To find the processes of a call, the driver reads the list of children of each thread, the file
# /proc/<pid>/task/<tid>/children: 7 us per thread, 4 ms for 512 threads. If a call has more threads than this
# maximum, not counting the first thread of each process, the driver reads the parent pid of every process on
# the machine instead: 10 us per process, independent of the number of threads.
_MOST_THREADS_SAMPLED = 512

# To count each page once, the kernel walks the page tables: 5 ms for 16 MiB of tables. A program can make
# gigabytes of nearly empty tables. So tables above 16 MiB are walked only if the memory is at least 100 times
# as large as the tables. Memory in use is about 500 times as large as its tables.
_MOST_TABLES_WALKED_BYTES = 16 * 2**20
_DENSE_TABLES_SHARE = 100
_LONGEST_EXACT_SAMPLE_S = 0.1


@dataclass(frozen=True, slots=True)
class TreeSample:
    """One measurement of the processes of a call.

    Args:
        pids: Ids of the processes.
        parts_bytes: Bytes of private memory (with swap), shared memory and page tables of each process, in
            the order of `pids`.
        memory_bytes: Upper bound of the memory of all processes: private memory, page tables, shared memory
            and memfds. A page that forked processes share is counted once per process. Shared arguments are
            included. See `exact_memory_bytes`.
        file_bytes: Size of the open memfds and shared memory objects, without shared arguments.
        peak_rss_kb: Peak resident memory of the process with the largest peak, KiB.
        deleted_bytes: Disk space of files that were removed while a process had them open.
        user_time_s: CPU time in user mode of all processes, and of the children that they have waited for.
        sys_time_s: CPU time in kernel mode of all processes, and of the children that they have waited for.
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

    def exact_memory_bytes(self, shared_inodes: frozenset[int]) -> int:
        """Return the memory of all processes, with each page counted once, without shared arguments.

        Takes 0.5 ms per GiB. Some processes are counted by their upper bound, as in `memory_bytes`: processes
        with large and nearly empty page tables, because walking the tables takes long, and processes that are
        not measured after 0.1 s of CPU time.

        Args:
            shared_inodes: Inodes of the memfds with shared arguments.
        """
        if len(self.pids) < 2 and not shared_inodes:
            return self.memory_bytes
        private_bytes = shared_bytes = 0
        end_s = time.thread_time() + _LONGEST_EXACT_SAMPLE_S
        for pid, (private, shared_memory, page_tables) in zip(self.pids, self.parts_bytes, strict=True):
            is_dense = page_tables * _DENSE_TABLES_SHARE <= private + shared_memory
            is_quick = is_dense or page_tables <= _MOST_TABLES_WALKED_BYTES
            if is_quick and time.thread_time() < end_s:
                private, shared_memory = _proportional_bytes(pid, shared_inodes, end_s) or (
                    private,
                    shared_memory,
                )
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
    """True if /proc lists children, as `sample_tree` needs (CONFIG_PROC_CHILDREN; not on macOS)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def sample_tree(root: int, worker: int, shared_inodes: frozenset[int]) -> TreeSample | None:
    """Measure the processes of a call.

    Args:
        root: Pid of the process that adopts the call's orphans. This process is not counted, unless it is the
            worker.
        worker: Pid of the worker.
        shared_inodes: Inodes of the memfds with shared arguments, which are not counted.

    Returns:
        The sample; None if nothing can be read, because the processes have ended or /proc is missing.
    """
    pids = _tree({root, worker})
    measured = {pid: found for pid in pids if (found := _measure(pid, shared_inodes)) is not None}
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
    # Shared memory that is both open and mapped is contained in both sums, so only the larger sum counts.
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
    """Return `roots` and the pids of all descendants. The children of every thread are included."""
    # Functions of os are faster than pathlib: this function runs 50 times a second per watched worker.
    unvisited, found = list(roots), set(roots)
    threads_left = _MOST_THREADS_SAMPLED
    while unvisited:
        pid = unvisited.pop()
        try:
            # st_nlink is the number of threads plus 2 (proc_task_getattr in fs/proc/base.c). Subtract 3 to
            # leave out the first thread.
            more_threads = os.stat(f"/proc/{pid}/task").st_nlink - 3
        except OSError:
            continue  # the process ended
        threads_left -= more_threads
        if threads_left < 0:
            return _tree_by_parents(roots)
        try:
            threads = os.listdir(f"/proc/{pid}/task") if more_threads else (str(pid),)
        except OSError:
            continue
        for thread in threads:
            children = set(_children(pid, thread))
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
                continue  # the process ended
            children_of.setdefault(parent, []).append(int(name))
    unvisited, found = list(roots), set(roots)
    while unvisited:
        children = set(children_of.get(unvisited.pop(), ())) - found
        unvisited.extend(children)
        found |= children
    return found


def _children(pid: int, thread: str) -> list[int]:
    try:
        return children_of_thread(pid, thread)
    except OSError:
        return []  # the driver is out of descriptors; the next sample may succeed


def _measure(pid: int, not_counted: Collection[int]) -> _Measured | None:
    place = f"/proc/{pid}"
    try:
        fields = _read(f"{place}/stat").rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            # The first thread has ended. Other threads may still run, and their entries show the resources of
            # the process.
            others = [task for task in os.listdir(f"{place}/task") if task != str(pid)]
            if not others:
                return None
            place = f"{place}/task/{others[0]}"
        status = _read(f"{place}/status")
    except OSError:
        return None
    memory_files, deleted_files = _open_files(place)
    user, system, children_user, children_system = map(int, fields[11:15])  # fields 14 to 17, see proc(5)
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
    """Return two dicts, inode -> used bytes: one for memfds and shared memory, one for removed files.

    Only files that the process has open are included.
    """
    memory_files: dict[int, int] = {}
    deleted_files: dict[int, int] = {}
    folder = f"{place}/fd"
    try:
        numbers = os.listdir(folder)[:_MOST_FILES_SAMPLED]
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
            continue  # the descriptor was closed
    return memory_files, deleted_files


def _proportional_bytes(pid: int, shared_inodes: frozenset[int], end_s: float) -> tuple[int, int] | None:
    """Return the proportional share (PSS) of a process's private and shared memory, without shared arguments.

    Returns (0, 0) if the process has ended. Returns None if the process is alive, but its PSS cannot be read.
    A program can hide the PSS from unprivileged users (PR_SET_DUMPABLE), and the kernel hides the PSS once
    the first thread has ended.
    """
    try:
        # The shared arguments are read first. If the process ends between the two reads, the difference is 0;
        # in the other order, memory of shared arguments would be counted.
        not_its_own = _mapped_bytes(pid, shared_inodes, end_s) if shared_inodes else 0
        text = _read(f"/proc/{pid}/smaps_rollup")
    except PermissionError:
        return None
    except OSError:
        return None if len(_threads(pid)) > 1 else (0, 0)
    private, shared_memory = _kib(text, b"Pss_Anon:") + _kib(text, b"SwapPss:"), _kib(text, b"Pss_Shmem:")
    return private * 1024, max(0, shared_memory * 1024 - not_its_own)


def _mapped_bytes(pid: int, inodes: Collection[int], end_s: float) -> int:
    """Return the proportional share (PSS) of a process in the memory mapped from files with these inodes.

    Reading stops when the CPU time of this thread passes `end_s`. The remaining mappings are then not
    counted.
    """
    total = 0
    counts = False
    with open(f"/proc/{pid}/smaps", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024 if counts else 0
            elif b"-" in line.split(None, 1)[0]:  # a mapping: addresses, access, offset, device, inode, name
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
