"""Restricts a process with Landlock: files, TCP, and signals and abstract sockets outside of the sandbox.

As of ABI 9, Landlock does not control:

- stat
- chmod, chown, utime and setxattr; `remount_read_only` makes these calls fail
- descriptors that are already open
- UDP
- TCP by MSG_FASTOPEN or MPTCP; the seccomp filter denies MSG_FASTOPEN and MPTCP

Before ABI 9, a process can connect to Unix sockets in the file system, unless seccomp denies AF_UNIX sockets.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
import struct
from collections.abc import Iterable

from gigaexec.calls import ConfinementStep
from gigaexec.sandbox.shortages import SHORTAGES
from gigaexec.sandbox.system_calls import set_no_new_privileges, system_call

# linux/landlock.h. Rights over files, grouped by the ABI version that introduced them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV, _RESOLVE_UNIX = 1 << 13, 1 << 14, 1 << 15, 1 << 16
_FILE_RIGHTS_BY_ABI = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV), (9, _RESOLVE_UNIX))
# In a rule for a file that is not a folder, the kernel accepts only these rights.
_RIGHTS_OVER_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV | _RESOLVE_UNIX
_NOT_CONTROLLED_BEFORE = (
    (2, "moves between folders (so all moves are refused)"),
    (3, "truncate"),
    (5, "ioctl on devices"),
)

_BIND_TCP, _CONNECT_TCP = 1, 2
_NETWORK_ABI = 4
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
_SCOPES_ABI = 6

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
# struct landlock_ruleset_attr (files, network, scopes), and struct landlock_path_beneath_attr (rights, file).
_RULESET = struct.Struct("=QQQ")
_PATH_BENEATH = struct.Struct("=Qi")


class Access(enum.Enum):
    """The rights that a rule gives to one file, or to everything in a folder.

    LIST allows listing folders. READ also allows reading files. EXECUTE also allows executing files.

    WRITE allows everything except creating devices. WRITE includes execution, because programs may compile
    and run other programs. Denying execution would protect nothing: a loader or interpreter can run any
    readable file.

    A rule for a folder allows neither ioctl on devices in the folder nor connecting to sockets in the folder.
    These rights need a rule for the device or socket itself.
    """

    LIST = _READ_DIR
    READ = _READ_FILE | _READ_DIR
    EXECUTE = _READ_FILE | _READ_DIR | _EXECUTE
    WRITE = (1 << 15) - 1 & ~(_MAKE_CHAR | _MAKE_BLOCK)


# The path or an open descriptor of a file or folder, and the rights to it.
FileRule = tuple[str | int, Access]


def abi_version() -> int:
    """Return the ABI version of Landlock; 0 if Landlock is missing, off or refused by a container."""
    try:
        return system_call("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        # EPERM comes from a container's seccomp filter that does not know the system call.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


class LandlockRuleset:
    """A ruleset that is made in the parent, and applied in each child together with the child's own rules.

    Args:
        rules: Rules that all children share. A rule whose path cannot be opened is left out. This object
            takes ownership of descriptors in the rules.
        allow_network: True to leave TCP unrestricted. False to deny connecting to and binding any TCP port.

    Raises:
        OSError: A transient shortage of descriptors or memory.
    """

    def __init__(self, rules: Iterable[FileRule] = (), *, allow_network: bool = False) -> None:
        self.abi = abi_version()
        self._files = sum(rights for abi, rights in _FILE_RIGHTS_BY_ABI if abi <= self.abi)
        network = _BIND_TCP | _CONNECT_TCP if self.abi >= _NETWORK_ABI and not allow_network else 0
        scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if self.abi >= _SCOPES_ABI else 0
        # A kernel that knows only the first fields accepts the whole structure if the other fields are zero.
        self._ruleset = _RULESET.pack(self._files, network, scopes)
        self._rules: list[bytes] = []
        self._steps = _steps(self.abi, allow_network)
        self._descriptors: list[int] = []
        try:
            for place, access in rules:
                descriptor = _open(place)
                if descriptor is not None:
                    self._descriptors.append(descriptor)
                    self._rules.append(self._file_rule(descriptor, access))
        except BaseException:
            self.close()
            raise

    def restrict_self(self, rules: Iterable[FileRule] = ()) -> tuple[ConfinementStep, ...]:
        """Confine this thread, and the threads and processes that it starts later, irrevocably.

        Called in the child. On return this process has closed its copies of all descriptors, including the
        descriptors in `rules`: a program could use a descriptor to bypass read-only mounts. The parent's
        copies stay open for the next child.

        Args:
            rules: Additional rules for this child only. A rule whose path cannot be opened is left out.

        Returns:
            The results of the steps landlock_files, landlock_network (unless the network is allowed) and
            landlock_scopes.

        Raises:
            OSError: The thread is not confined.
        """
        try:
            if not self.abi:
                problem = "Landlock is missing, turned off, or refused by a container"
                raise OSError(errno.EOPNOTSUPP, problem, "landlock")
            set_no_new_privileges()
            self._restrict_self(rules)
        finally:
            self.close()
        return self._steps

    def _restrict_self(self, rules: Iterable[FileRule]) -> None:
        ruleset = system_call("landlock_create_ruleset", self._ruleset, len(self._ruleset), 0)
        try:
            for rule in self._rules:
                system_call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
            for place, access in rules:
                descriptor = _open(place)
                if descriptor is None:
                    continue
                self._descriptors.append(descriptor)
                rule = self._file_rule(descriptor, access)
                system_call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
            system_call("landlock_restrict_self", ruleset, 0)
        finally:
            os.close(ruleset)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The open descriptors that `restrict_self` needs."""
        return tuple(self._descriptors)

    def close(self) -> None:
        """Close this process's copies of the rules' descriptors. Rules that are in force do not need them."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _file_rule(self, descriptor: int, access: Access) -> bytes:
        rights = access.value
        mode = os.fstat(descriptor).st_mode
        if access is Access.WRITE:
            if stat.S_ISCHR(mode):
                rights |= _IOCTL_DEV
            elif stat.S_ISSOCK(mode):
                rights |= _RESOLVE_UNIX
        if not stat.S_ISDIR(mode):
            rights &= _RIGHTS_OVER_A_FILE
        return _PATH_BENEATH.pack(rights & self._files, descriptor)


def _steps(abi: int, allow_network: bool) -> tuple[ConfinementStep, ...]:
    weaker = [what for version, what in _NOT_CONTROLLED_BEFORE if abi < version]
    detail = f"ABI {abi}" + (f", which does not control: {', '.join(weaker)}" if weaker else "")
    steps = [ConfinementStep("landlock_files", True, detail)]
    if not allow_network:
        held = abi >= _NETWORK_ABI
        steps.append(
            ConfinementStep(
                "landlock_network", held, "" if held else f"ABI {abi}; TCP needs ABI {_NETWORK_ABI}"
            )
        )
    held = abi >= _SCOPES_ABI
    steps.append(
        ConfinementStep("landlock_scopes", held, "" if held else f"ABI {abi}; scopes need ABI {_SCOPES_ABI}")
    )
    return tuple(steps)


def _open(place: str | int) -> int | None:
    if isinstance(place, int):
        return place
    try:
        return os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise  # leaving the rule out would deny programs a file that the policy allows
        return None  # the file is missing or not accessible; leaving the rule out only removes rights
