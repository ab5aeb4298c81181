"""The errnos of transient shortages. A separate module, because importing `system_calls` loads ctypes."""

from __future__ import annotations

import errno

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS})
"""Errnos of a shortage of processes, memory or descriptors: retry, do not disable a step permanently.

ENOSPC is not included: unshare(2) fails with ENOSPC at the limit on namespaces, and a limit of 0 is
permanent.
"""
