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
        assert time.monotonic() < limit, "nobody released this call"
        time.sleep(0.005)
    return name
"""


def bystander(journal: str, name: str, *, release: str | None = None) -> WorkerCall:
    """A call that writes its name to a file and returns it.

    Args:
        journal: The file: a call that is run twice is there twice.
        name: One word.
        release: The call ends when this file exists; None is at once.
    """
    return WorkerCall(_CODE, "f", [journal, name, release])
