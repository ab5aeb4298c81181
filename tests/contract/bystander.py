"""A healthy call that runs, or waits in the queue, while another call of the same pool dies."""

from __future__ import annotations

from gigaexec import WorkerCall

_CODE = """
import os, time

def f(journal, name, release):
    with open(journal, "a") as file:
        file.write(name + "\\n")
    limit = time.monotonic() + 60
    while release is not None and not os.path.exists(release):
        assert time.monotonic() < limit, "the test did not release this call"
        time.sleep(0.005)
    return name
"""


def bystander(journal: str, name: str, *, release: str | None = None) -> WorkerCall:
    """Return a call that appends its name to a file and returns the name.

    Args:
        journal: Path of the file. A call that runs twice appends its name twice.
        name: The name, without white space.
        release: The call ends when this file exists; None ends it at once.
    """
    return WorkerCall(_CODE, "f", [journal, name, release])
