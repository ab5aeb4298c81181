"""Run a function in a child process, which may then confine itself."""

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
    """The function raised; the message is the child's traceback."""


class ChildKilled(AssertionError):
    """A signal ended the child."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def in_child(function: Callable[[], object], user: int | None = None) -> Any:
    """Return what `function` returned in a forked child with one thread, through JSON.

    Args:
        function: What to run there.
        user: Become this user first; None stays.

    Raises:
        ChildFailed: It raised.
        ChildKilled: A signal ended the child.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads, which the test runner may have. The child has one.
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
    """Give up root for good, if this is root and `user` is not."""
    if user != os.geteuid():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        prctl(_PR_SET_DUMPABLE, 1)  # lost with the change; without it /proc/self belongs to root


def errno_of(function: Callable[[], object]) -> str:
    """Return the name of the error with which it fails, such as "EACCES"; "" if it does not fail."""
    try:
        function()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""
