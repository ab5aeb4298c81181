"""R33: PID namespaces for calls, made in processes of their own."""

from __future__ import annotations

import errno
import sys

import pytest
from tests.process.scripts import json_of_script


@pytest.mark.skipif(sys.platform != "linux", reason="makes PID namespaces")
def test_r33_a_refused_namespace_is_requested_again() -> None:
    script = """
    import errno, json, os
    from gigaexec.worker.forked import pid_namespaces
    from gigaexec.sandbox import namespaces

    clone, calls = pid_namespaces._clone, 0

    def clone_or_refuse(*args):
        global calls
        calls += 1
        if 3 <= calls <= 6:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return clone(*args)

    pid_namespaces._clone = clone_or_refuse
    user, group = namespaces.user_and_group()
    namespaces.unshare(namespaces.NEW_USER | namespaces.NEW_PID)
    namespaces.write_identity_map(user, group)
    if template := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(template, 0)[1]))
    inits = pid_namespaces.NamespaceInits.start()
    seen = []
    for _ in range(5):
        try:
            pid_namespaces.end_init(inits.new())
            seen.append(0)
        except OSError as error:
            seen.append(error.errno)
    print(json.dumps(seen), flush=True)
    os._exit(0)
    """
    assert json_of_script(script) == [0, errno.EAGAIN, errno.EAGAIN, 0, 0]
