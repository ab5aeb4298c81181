"""Run a function in a forked child, where it may confine the process."""

from __future__ import annotations

import errno
import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from gigaexec.sandbox.system_calls import prctl

NOBODY = 65534
_PR_SET_DUMPABLE = 4
_CHILD_TIMEOUT_S = 30


class ChildFailed(AssertionError):
    """Error for a function that raised in the child; the message is the child's traceback."""


class ChildKilled(AssertionError):
    """Error for a child ended by a signal."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def in_child(function: Callable[[], object], user: int | None = None) -> Any:
    """Run `function` in a forked, single-threaded child and return its value, passed as JSON.

    Args:
        function: Run in the child; its value must be JSON-serialisable.
        user: The user id that the child switches to first; None keeps the current user.

    Raises:
        ChildFailed: `function` raised.
        ChildKilled: A signal ended the child.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12+ warns when a process with several threads forks; the test runner may have some.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(_CHILD_TIMEOUT_S)
            os.close(read_end)
            if user is not None:
                become(user)
            answer = {"value": function()}
        except BaseException:
            answer = {"traceback": traceback.format_exc()}
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise ChildKilled(signal.Signals(os.WTERMSIG(status)).name)
    answer = json.loads(data)
    if "traceback" in answer:
        raise ChildFailed(answer["traceback"])
    return answer["value"]


def become(user: int) -> None:
    """Switch permanently to the user id `user`, unless the process already runs as it."""
    if user != os.geteuid():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        prctl(_PR_SET_DUMPABLE, 1)  # setuid clears it, and then root owns /proc/self


def errno_of(function: Callable[[], object]) -> str:
    """Call `function`; return the name of its errno, such as "EACCES", or "" if it succeeds."""
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""
