"""Reports a limit of open files that is too low, and the remedy."""

from __future__ import annotations

import errno
import resource

# Descriptors that a pool needs for its first worker: about 14 for standard streams, event loop, selector,
# inbox, guard and spill directory, and 14 for the worker or the template, with the descriptors passed to it.
_LEAST_LIMIT = 28

# Descriptors of one running worker, and of one start, for the advice.
_DESCRIPTORS_OF_WORKER = 8


def limit_problem() -> str:
    """Return why the limit on open files is too low for any worker; "" if the limit is high enough."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _LEAST_LIMIT:
        return ""
    return f"the limit of open files of this process is {limit}; a pool needs at least {_LEAST_LIMIT}"


def advice_for(cause: BaseException, worker_count: int) -> str:
    """Return a sentence with the remedy for EMFILE; "" if `cause` is another error."""
    if not isinstance(cause, OSError) or cause.errno != errno.EMFILE:
        return ""
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = max(256, soft_limit + _DESCRIPTORS_OF_WORKER * worker_count)
    return f"To allow more open files, run: ulimit -n {enough}"
