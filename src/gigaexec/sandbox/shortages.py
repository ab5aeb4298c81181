"""The errors by which the kernel reports a transient shortage. Not in `system_calls`, which loads ctypes."""

from __future__ import annotations

import errno

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS})
"""Shortages of processes, memory or descriptors: retry, do not disable a step permanently.

ENOSPC is not among them: unshare reports the limit of namespaces by it, and a limit of 0 is permanent.
"""
