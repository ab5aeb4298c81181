"""What one call cost."""

from __future__ import annotations

import os
import sys
from os import getpid as _getpid, pread as _pread, write as _write
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage as _getrusage
from time import monotonic_ns as _monotonic_ns

from gigaexec.calls import ExecutionMetrics

# Written to /proc/self/clear_refs this resets VmHWM, the peak of resident memory (proc(5), since Linux 4.0).
_RESET_PEAK = b"5"

# ru_maxrss is in bytes on macOS and in KiB elsewhere (getrusage(2) of each).
_MAXRSS_PER_KB = 1024 if sys.platform == "darwin" else 1


class Accountant:
    """Measures the calls of one worker process.

    Keeps two files of /proc open: opening them for each call costs more than reading them, and a call that
    uses up all descriptors must not lose its metrics.
    """

    def __init__(self, worker_id: str, node_id: str) -> None:
        self._worker_id = worker_id
        self._node_id = node_id
        self._status = _open_or_none("/proc/self/status", os.O_RDONLY)
        self._clear_refs = _open_or_none("/proc/self/clear_refs", os.O_WRONLY)

    def start(self) -> Measurement:
        """Begin to measure a call."""
        if self._clear_refs is not None:
            try:
                _write(self._clear_refs, _RESET_PEAK)
            except OSError:
                # Refused by the kernel, or the program closed the descriptor: the peak is then of the
                # process's life, as the field's documentation says.
                self._clear_refs = None
        return Measurement(self)

    def peak_rss_kb(self) -> int:
        """Peak resident memory since the last reset, KiB."""
        return self._status_field(b"VmHWM:") or _lifetime_peak_rss_kb()

    def rss_kb(self) -> int:
        """Resident memory now, KiB; the lifetime peak where /proc is not there."""
        return self._status_field(b"VmRSS:") or _lifetime_peak_rss_kb()

    def metrics(
        self, started_at_ns: int, finished_at_ns: int, cpu_times_s: tuple[float, float]
    ) -> ExecutionMetrics:
        return ExecutionMetrics(
            peak_rss_kb=self.peak_rss_kb(),
            wall_time_s=(finished_at_ns - started_at_ns) / 1e9,
            user_time_s=cpu_times_s[0],
            sys_time_s=cpu_times_s[1],
            worker_pid=_getpid(),
            worker_id=self._worker_id,
            node_id=self._node_id,
            started_at_ns=started_at_ns,
            finished_at_ns=finished_at_ns,
        )

    def _status_field(self, name: bytes) -> int:
        if self._status is None:
            return 0
        try:
            text = _pread(self._status, 4096, 0)
        except OSError:  # the program closed the descriptor
            self._status = None
            return 0
        start = text.find(name)
        return int(text[start + len(name) :].split(None, 1)[0]) if start >= 0 else 0


class Measurement:
    """One call's clocks, from its creation to `stop`."""

    def __init__(self, accountant: Accountant) -> None:
        self._accountant = accountant
        self._cpu_before = _cpu_times_s()
        self._started_at_ns = _monotonic_ns()

    def stop(self) -> ExecutionMetrics:
        """End it. Call once."""
        finished_at_ns = _monotonic_ns()
        before, after = self._cpu_before, _cpu_times_s()
        used = (max(0.0, after[0] - before[0]), max(0.0, after[1] - before[1]))
        return self._accountant.metrics(self._started_at_ns, finished_at_ns, used)


def _cpu_times_s() -> tuple[float, float]:
    own = _getrusage(RUSAGE_SELF)
    children = _getrusage(RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime


def _lifetime_peak_rss_kb() -> int:
    return _getrusage(RUSAGE_SELF).ru_maxrss // _MAXRSS_PER_KB


def _open_or_none(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
