"""R62: the pid of a worker that a template forked, as worker hooks report it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gigaexec.pool.starters.forked_process import _pid_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfds")


def test_the_pid_of_a_reaped_process_is_unknown() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            assert _pid_of(pidfd) == (process.pid, False)
            process.kill()
            process.wait()
            assert _pid_of(pidfd) == (0, False)
        finally:
            os.close(pidfd)
