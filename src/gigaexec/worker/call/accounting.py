"""Measures the resource usage of one call: time, memory, page faults."""

from __future__ import annotations

import os
import sys
from os import getpid as _getpid, pread as _pread, write as _write
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage as _getrusage
from time import monotonic_ns as _monotonic_ns

from gigaexec.calls import ExecutionMetrics
from gigaexec.measured import Usage

# Writing this to /proc/self/clear_refs resets VmHWM, the peak resident memory (proc(5), since Linux 4.0).
_RESET_PEAK = b"5"

# The unit of ru_maxrss is bytes on macOS, and KiB elsewhere: see getrusage(2) of each system.
_MAXRSS_PER_KB = 1024 if sys.platform == "darwin" else 1


class Accountant:
    """Measures the calls of one worker process.

    Two files of /proc stay open, for two reasons. Opening a file takes longer than reading it. And a call
    that uses up all descriptors must not lose its metrics.

    Args:
        worker_id: Id of the worker, 12 hex digits.
        node_id: Name of the machine.
        is_single_use: True if the process runs only one call. The lifetime peak of memory is then the peak of
            the call, and is never reset.
    """

    def __init__(self, worker_id: str, node_id: str, *, is_single_use: bool = False) -> None:
        self._worker_id = worker_id
        self._node_id = node_id
        self._peak_before_reset_kb = 0
        if is_single_use:
            self._status: int | None = None
            self._clear_refs: int | None = None
            return
        self._status = _open_or_none("/proc/self/status", os.O_RDONLY)
        self._clear_refs = _open_or_none("/proc/self/clear_refs", os.O_WRONLY)

    def start(self) -> Measurement:
        """Reset the peak of memory, and start measuring a call."""
        if self._clear_refs is not None:
            # The reset also lowers ru_maxrss, so keep the lifetime peak.
            self._peak_before_reset_kb = self._lifetime_peak_rss_kb()
            try:
                _write(self._clear_refs, _RESET_PEAK)
            except OSError:
                # The kernel refused, or the program closed the descriptor. From now on, report the lifetime
                # peak.
                self._clear_refs = None
        return Measurement(self)

    def peak_rss_kb(self) -> int:
        """Return the peak resident memory since the last reset, in KiB; without resets, the lifetime peak."""
        return self._status_field(b"VmHWM:") or self._lifetime_peak_rss_kb()

    def rss_kb(self) -> int:
        """Return the current resident memory, in KiB; without /proc, the lifetime peak."""
        return self._status_field(b"VmRSS:") or self._lifetime_peak_rss_kb()

    def metrics(self, started_at_ns: int, finished_at_ns: int, used: Usage) -> ExecutionMetrics:
        """Return the metrics of a call, given two readings of the monotonic clock and the resource usage."""
        return ExecutionMetrics(
            peak_rss_kb=self.peak_rss_kb(),
            wall_time_s=(finished_at_ns - started_at_ns) / 1e9,
            user_time_s=used.user_time_s,
            sys_time_s=used.sys_time_s,
            worker_pid=_getpid(),
            worker_id=self._worker_id,
            node_id=self._node_id,
            started_at_ns=started_at_ns,
            finished_at_ns=finished_at_ns,
            lifetime_peak_rss_kb=self._lifetime_peak_rss_kb(),
            voluntary_switches=used.voluntary_switches,
            involuntary_switches=used.involuntary_switches,
            minor_faults=used.minor_faults,
            major_faults=used.major_faults,
        )

    def _lifetime_peak_rss_kb(self) -> int:
        return max(self._peak_before_reset_kb, _getrusage(RUSAGE_SELF).ru_maxrss // _MAXRSS_PER_KB)

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
    """Measures one call, from the creation of this object until `stop`."""

    def __init__(self, accountant: Accountant) -> None:
        self._accountant = accountant
        self._used_before = usage()
        self._started_at_ns = _monotonic_ns()

    def stop(self) -> ExecutionMetrics:
        """End the measurement and return the metrics. Call this method only once."""
        finished_at_ns = _monotonic_ns()
        used = usage().since(self._used_before)
        return self._accountant.metrics(self._started_at_ns, finished_at_ns, used)


def usage() -> Usage:
    """Return the resource usage of this process and of the children that it has reaped."""
    return Usage.of(_getrusage(RUSAGE_SELF), _getrusage(RUSAGE_CHILDREN))


def _open_or_none(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None
