"""Makes Landlock rules for the files that confined programs may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from gigaexec.sandbox.landlock import Access, FileRule
from gigaexec.sandbox.policy import SandboxPolicy

EXECUTABLE_FOLDERS = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/nix/store")
_READABLE = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/timezone"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/mime.types", "/etc/fonts"),
    *("/dev/urandom", "/dev/random", "/dev/zero", "/dev/full"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage"),
)
_READABLE_FOR_NETWORK = (
    *("/etc/hosts", "/etc/resolv.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services"),
    *("/etc/protocols", "/etc/ssl", "/etc/ca-certificates", "/run/systemd/resolve"),
)
_READABLE_WITHOUT_OWN_PROC = ("/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat")

SHARED_MEMORY = "/dev/shm"
"""The folder in which the C library creates POSIX semaphores and shared memory."""


class FileRules:
    """Makes the Landlock rules for one template and its calls.

    Args:
        policy: The sandbox policy.
        private: Folders whose contents programs must not read: the home folder and the spill directory.
    """

    def __init__(self, policy: SandboxPolicy, private: Sequence[str]) -> None:
        self._policy = policy
        self._private = [os.path.realpath(folder) for folder in private]

    def for_template(self) -> Iterator[FileRule]:
        """Yield the rules that all calls share."""
        for folder in (*EXECUTABLE_FOLDERS, sys.prefix, sys.base_prefix, sys.exec_prefix):
            yield folder, Access.EXECUTE
        readable = [*_READABLE, *self._policy.read]
        if self._policy.network:
            readable += _READABLE_FOR_NETWORK
        for place in readable:
            yield place, Access.READ
        for folder in filter(None, sys.path):
            yield from self._import_rules(folder)
        for place in ("/dev/null", *self._policy.write):
            yield place, Access.WRITE

    def for_call(
        self,
        scratch: str,
        python_path: Sequence[str],
        *,
        has_private_proc: bool,
        has_private_shared_memory: bool,
    ) -> Iterator[FileRule]:
        """Yield the rules that only one call needs, in addition to the rules of the template.

        Args:
            scratch: The call's scratch folder. The program may write to it.
            python_path: Folders from which the program may import.
            has_private_proc: True if /proc shows only processes of this call. The program may then read all
                of /proc.
            has_private_shared_memory: True if /dev/shm belongs to this call only. The program may then write
                to /dev/shm.
        """
        yield scratch, Access.WRITE
        if has_private_proc:
            yield "/proc", Access.READ
        else:
            for place in _READABLE_WITHOUT_OWN_PROC:
                yield place, Access.READ
        if has_private_shared_memory:
            yield SHARED_MEMORY, Access.WRITE
        for folder in python_path:
            yield from self._import_rules(folder)

    def _import_rules(self, folder: str) -> Iterator[FileRule]:
        """Yield rules for importing from a folder, without access to private folders below it.

        The folder can contain the home folder or the spill directory. For example, `python -m` puts the
        current folder on sys.path, and the folder of a program's file is on the call's python_path. Programs
        can then only list the folder and read the modules directly in it.
        """
        real = os.path.realpath(folder)
        if not any(os.path.commonpath([real, place]) == real for place in self._private):
            yield folder, Access.READ
            return
        if real == "/":
            return  # a rule for / would allow listing every folder, /proc included
        yield folder, Access.LIST
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return  # the folder is missing, or not readable by this user
        for entry in entries:
            if entry.name.endswith(".py") and entry.is_file():
                yield entry.path, Access.READ
