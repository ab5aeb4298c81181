"""Memory samples of a call's process tree."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.process.scripts import read_json, started_script

from gigaexec.pool.supervision import sampling
from gigaexec.pool.supervision.sampling import TreeSample, sample_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_NOTHING: frozenset[int] = frozenset()

# Children wait for end of file on a pipe, so they end with their parent.
_PRELUDE = """
import mmap, os, sys, threading
reader, writer = os.pipe()
end = threading.Event()
def start_child():
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
def ready():
    print("true", flush=True)
    sys.stdin.read()
"""


def _sample_of(source: str) -> tuple[TreeSample, int]:
    """Run `source` in a process; return a sample of its process tree and its exact memory in bytes."""
    with started_script(_PRELUDE + source) as process:
        read_json(process)
        found = sample_tree(process.pid, process.pid, _NOTHING)
        assert found is not None
        return found, found.exact_memory_bytes(_NOTHING)


def test_all_children_of_one_process_are_found() -> None:
    found, _ = _sample_of("for _ in range(1200): start_child()\nready()")
    assert len(found.pids) == 1201


@pytest.mark.parametrize("threads", [3, 700])
def test_children_of_every_thread_are_found(threads: int) -> None:
    found, _ = _sample_of(
        f"""
threading.stack_size(64 << 10)
for _ in range({threads}):
    threading.Thread(target=end.wait, daemon=True).start()
def start_some():
    for _ in range(5):
        start_child()
    ready()
thread = threading.Thread(target=start_some)
thread.start()
thread.join()
"""
    )
    assert len(found.pids) == 6


def test_a_thread_that_ends_hides_no_children_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def with_ended_thread(path: Any) -> list[str]:
        return ["0", *listed(path)] if str(path).endswith("/task") else listed(path)

    monkeypatch.setattr(os, "listdir", with_ended_thread)
    found, _ = _sample_of("threading.Thread(target=end.wait, daemon=True).start()\nstart_child()\nready()")
    assert len(found.pids) == 2


def test_page_tables_count_if_the_call_has_several_processes() -> None:
    found, exact_bytes = _sample_of(
        """
start_child()
size, step, no_reserve = 16 << 30, 2 << 20, 0x4000
kept = mmap.mmap(-1, size, mmap.MAP_PRIVATE | no_reserve, mmap.PROT_READ)
for offset in range(0, size, step):
    kept[offset]
ready()
"""
    )
    assert found.memory_bytes >= exact_bytes >= 32 * 2**20


@pytest.mark.parametrize("children", [0, 1])
def test_swapped_memory_counts(children: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_read", _with_swap(sampling._read))
    _, exact_bytes = _sample_of(f"for _ in range({children}): start_child()\nready()")
    assert exact_bytes >= 2**30


def _with_swap(read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Wrap a reader of /proc so that each process has 1 GiB in swap."""

    def read_with_swap(path: str) -> bytes:
        if not path.endswith(("/status", "/smaps_rollup")):
            return read(path)
        kept = [line for line in read(path).splitlines() if not line.startswith((b"VmSwap:", b"SwapPss:"))]
        return b"\n".join([*kept, b"VmSwap:\t 1048576 kB", b"SwapPss: 1048576 kB"])

    return read_with_swap


def test_large_page_tables_that_are_nearly_empty_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []

    def walk(pid: int, *_: object) -> None:
        walked.append(pid)

    monkeypatch.setattr(sampling, "_proportional_bytes", walk)
    found, exact_bytes = _sample_of(
        """
start_child()
size = 32 << 30
kept = mmap.mmap(-1, size, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ)  # MAP_NORESERVE
for offset in range(0, size, 2 << 20):
    kept[offset]
ready()
"""
    )
    assert exact_bytes > 64 * 2**20
    assert walked == [
        pid for pid, parts in zip(found.pids, found.parts_bytes, strict=True) if parts[2] < 2**24
    ]
    assert len(walked) == 1


def test_processes_that_exceed_the_time_of_an_exact_sample_are_not_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "_LONGEST_EXACT_SAMPLE_S", 0.0)
    found, exact_bytes = _sample_of("for _ in range(3): start_child()\nready()")
    assert exact_bytes == found.memory_bytes, (
        "without the exact sample, shared pages count once for each process"
    )
