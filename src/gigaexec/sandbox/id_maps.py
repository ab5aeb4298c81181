"""Maps all user and group ids into a new user namespace. Only a process outside the namespace can do this."""

from __future__ import annotations

import os
from typing import NoReturn

from gigaexec.sandbox import namespaces


class IdMapper:
    """A child process that stays in the old user namespace and writes this process's id maps from there.

    Create the `IdMapper` before this process enters the new user namespace.

    Raises:
        OSError: The child process cannot be started.
    """

    def __init__(self) -> None:
        reader, self._start = os.pipe()
        target = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._start)
            _map_when_told(reader, target)
        os.close(reader)

    def map_all(self) -> bool:
        """Map all ids to themselves. Return False if this user lacks the privilege.

        On return, the child process has ended.
        """
        os.write(self._start, b"\0")
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return status == 0

    def close(self) -> None:
        """Close the pipe, and wait until the child has ended."""
        os.close(self._start)
        if self._pid:
            os.waitpid(self._pid, 0)


def _map_when_told(start: int, target: int) -> NoReturn:
    try:
        if os.read(start, 1):
            namespaces.write_full_identity_map(target)
    except OSError:
        os._exit(1)
    os._exit(0)
