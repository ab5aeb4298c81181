"""Threads and descriptors that a call left behind in a reused worker."""

from __future__ import annotations

import os
import resource
import threading


def leftover_thread_names() -> list[str]:
    """Return the names of all Python threads except the main one."""
    main = threading.main_thread()
    return [thread.name for thread in threading.enumerate() if thread is not main and thread.is_alive()]


def descriptors_run_low() -> bool:
    """True if the lowest free descriptor is in the upper half of what this process may open."""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest_free = os.dup(0)
    except OSError:
        return True
    os.close(lowest_free)
    return soft_limit != resource.RLIM_INFINITY and lowest_free > soft_limit // 2
