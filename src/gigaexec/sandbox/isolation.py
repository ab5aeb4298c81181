"""Isolates the processes of a call, and confines its program.

    template    namespaces of users, processes, mounts and network,   once
                mounts read-only
      worker    its own PID namespace, /proc, System V IPC,           for each call
                writable scratch folder
      program   no capabilities, Landlock, seccomp                    when the call has come

Every step is tried, and what came of it is recorded; nothing is inferred from versions. Where the sandbox is
off, the namespaces of users, processes and mounts are made all the same: they are what kills everything that
a program started, however it hides.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gigaexec.calls import ConfinementStep
from gigaexec.sandbox import namespaces
from gigaexec.sandbox.capabilities import drop_all_capabilities, give_up_capabilities
from gigaexec.sandbox.denied_calls import denied_calls
from gigaexec.sandbox.landlock import Access, FileRule, Landlock
from gigaexec.sandbox.policy import SandboxLevel, SandboxPolicy
from gigaexec.sandbox.seccomp import Filter, build_program

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

_SHARED_MEMORY = "/dev/shm"  # where the C library puts semaphores
_SHARED_MEMORY_BYTES = 64 * 2**20
"""Room for semaphores and small blocks; what lies there is in no process's resident memory."""

# Who may write to it can map it as memory that need be in no process, where no limit finds it. Landlock lets
# programs read it, and a read-only mount everybody write.
_SHARED_ZEROS = "/dev/zero"

# What the machine refuses now it may grant soon, so it is no reason to do without for good.
SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS)

_NAMESPACES = ("user_namespace", "pid_namespace", "mount_namespace")

Steps = tuple[ConfinementStep, ...]


class Isolation:
    """Where a template and its calls run. Make it in the template's first process, before any thread.

    Args:
        policy: How programs are confined.
        spill_dir: Where scratch folders and results of all calls are.
    """

    def __init__(self, policy: SandboxPolicy, spill_dir: str) -> None:
        self._policy = policy
        self._private = [os.path.realpath(place) for place in (os.path.expanduser("~"), spill_dir)]
        self._steps: list[ConfinementStep] = []
        self._landlock: Landlock | None = None
        self._filter: Filter | None = None
        self._are_mounts_read_only = False
        self._has_own_shared_memory = False
        self.has_pid_namespaces = False
        """True if each call gets a PID namespace of its own."""
        self.call_is_as_expected = False
        self.landlock_failure = ""
        """Why the program must not run, although this machine has Landlock; else ""."""
        self.has_namespaces = False
        """Whether this process is in namespaces of users and mounts; of processes its next child is."""

    @property
    def steps(self) -> Steps:
        """What was tried up to here, in this process and those it was forked from."""
        return tuple(self._steps)

    @property
    def expected_steps(self) -> Steps:
        """In the template: what `steps` will be in a worker in which each step holds that is tried there."""
        names = ("private_proc", "ipc_namespace") if self._policy.confines else ("private_proc",)
        return (*self._steps, *(ConfinementStep(name, True) for name in names))

    def enter_namespaces(self) -> None:
        """Enter namespaces of users and mounts; of processes the next child is the first one."""
        user, group = namespaces.user_and_group()
        mapper = None if self._policy.confines else _Mapper()
        try:
            namespaces.unshare(namespaces.NEW_USER | namespaces.NEW_PID | namespaces.NEW_MOUNTS)
            # Where the sandbox is off, a privileged user keeps the files of all users.
            if mapper is None or not mapper.map_all():
                namespaces.write_identity_map(user, group)
        except OSError as error:
            self._steps += [ConfinementStep(name, False, str(error)) for name in _NAMESPACES]
            if self._policy.confines and not self._policy.network:
                self._miss("network_namespace", "it needs a user namespace")
            return
        finally:
            if mapper is not None:
                mapper.close()
        self._steps += [ConfinementStep(name, True) for name in _NAMESPACES]
        self.has_namespaces = self.has_pid_namespaces = True
        if self._policy.confines and not self._policy.network:
            # One for all calls: making and ending one takes the kernel 0.9 ms, and nothing can be done in it.
            with self._step("network_namespace"):
                namespaces.unshare(namespaces.NEW_NETWORK)

    def lose_pid_namespaces(self, reason: str) -> None:
        """In the template: record that calls get no PID namespaces, although the template is in one.

        Raises:
            OSError: /proc cannot be mounted for the template's own namespace.
        """
        self.has_pid_namespaces = False
        self._steps = [step for step in self._steps if step.name != "pid_namespace"]
        self._miss("pid_namespace", reason)
        # Supervisors find what to kill by the numbers that /proc shows, which must be those of the namespace
        # that the template is in.
        namespaces.unshare(namespaces.NEW_MOUNTS)
        namespaces.mount_proc(is_read_only=False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker needs of those that are open here."""
        return self._landlock.descriptors if self._landlock is not None else ()

    def settle(self) -> None:
        """In the template: prepare what all calls share."""
        if self.has_namespaces:
            with self._step("own_mounts_stay_inside", is_reported=False):
                namespaces.make_mounts_private()
        if not self._policy.confines:
            return
        if self.has_namespaces:
            with self._step("read_only_mounts"):
                namespaces.remount_read_only()
                self._are_mounts_read_only = True
                for folder in self._policy.write:
                    namespaces.make_writable(folder)
        else:
            self._miss("read_only_mounts", "it needs a mount namespace")
        self._landlock = Landlock(self._static_rules(), allow_network=self._policy.network)
        if self._are_mounts_read_only and not self._landlock.abi and os.path.exists(_SHARED_ZEROS):
            with self._step("no_shared_zeros", is_reported=False):
                namespaces.close_device(_SHARED_ZEROS)
        try:
            self._filter = Filter(build_program(denied_calls(allow_network=self._policy.network)))
        except OSError as error:  # a processor whose system calls are not known here
            self._miss("seccomp", str(error))

    def isolate_call(self, scratch: str) -> None:
        """In the worker, before anything else. `call_is_as_expected` says how it went."""
        missing_before = self._missing_count()
        self._isolate_call(scratch)
        self.call_is_as_expected = self.has_pid_namespaces and self._missing_count() == missing_before

    def _isolate_call(self, scratch: str) -> None:
        if not self.has_pid_namespaces:
            if self._policy.confines:
                for name in ("private_proc", "ipc_namespace"):
                    self._miss(name, "it needs a PID namespace")
            return
        namespaces.unshare(namespaces.NEW_MOUNTS)
        with self._step("private_proc"):
            namespaces.mount_proc(is_read_only=self._policy.confines)
        if not self._policy.confines:
            if os.geteuid() != 0:
                # A plain user has none outside, and programs may rely on being refused.
                give_up_capabilities()
            return
        with self._step("ipc_namespace"):
            namespaces.unshare(namespaces.NEW_IPC)
        if self._are_mounts_read_only:  # the step may have failed for a folder of `write` all the same
            namespaces.make_writable(scratch)
            with self._step("private_shared_memory", is_reported=False):
                namespaces.mount_memory(_SHARED_MEMORY, _SHARED_MEMORY_BYTES)
                self._has_own_shared_memory = True

    def confine_program(self, scratch: str, python_path: list[str]) -> None:
        """In the worker, at last: from here on nothing that this process runs gets out."""
        assert self._landlock is not None
        before = len(self._steps)
        with self._step("no_capabilities"):
            drop_all_capabilities()
        try:
            steps = self._landlock.restrict_self(self._rules_of_call(scratch, python_path))
            self._steps += steps
        except OSError as error:
            if self._landlock.abi:  # this machine has it: the call is at fault, or the moment
                self.landlock_failure = f"Landlock could not be applied to this call: {error}"
            for name in ("landlock_files", "landlock_network", "landlock_scopes"):
                if name != "landlock_network" or not self._policy.network:
                    self._miss(name, str(error))
        if self._filter is not None:
            with self._step("seccomp"):
                self._filter.install()
        # Each of the three sets it first; it holds if one of them did.
        held = any(step.held for step in self._steps[before:])
        self._steps.insert(before, ConfinementStep("no_new_privileges", held))

    def missing(self) -> str:
        """What does not hold although the policy requires it, or ""."""
        if self._policy.level is not SandboxLevel.STRICT:
            return ""
        missing = [f"{step.name} ({step.detail})" for step in self._steps if not step.held]
        return f"the strict sandbox is not to be had here: {'; '.join(missing)}" if missing else ""

    def _static_rules(self) -> Iterator[FileRule]:
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

    def _import_rules(self, folder: str) -> Iterator[FileRule]:
        """What programs may read of a folder to import from: not what shows them keys, or other results.

        `python -m` puts the current folder on sys.path, and a program's own folder is on its python_path.
        Either may be the home folder: of that only the names can be read, and modules that lie in it. Or it
        may be /, which is left out.
        """
        real = os.path.realpath(folder)
        if not any(os.path.commonpath([real, place]) == real for place in self._private):
            yield folder, Access.READ
            return
        if real == "/":
            return  # listing it would be listing everything, the processes of /proc included
        yield folder, Access.LIST
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return  # it is not there, or closed to this user
        for entry in entries:
            if entry.name.endswith(".py") and entry.is_file():
                yield entry.path, Access.READ

    def _rules_of_call(self, scratch: str, python_path: list[str]) -> Iterator[FileRule]:
        yield scratch, Access.WRITE
        if self._held("private_proc"):
            yield "/proc", Access.READ
        else:
            for place in _READABLE_WITHOUT_OWN_PROC:
                yield place, Access.READ
        if self._has_own_shared_memory:
            yield _SHARED_MEMORY, Access.WRITE
        for folder in python_path:
            yield from self._import_rules(folder)

    def _held(self, name: str) -> bool:
        return any(step.name == name and step.held for step in self._steps)

    def _missing_count(self) -> int:
        return sum(not step.held for step in self._steps)

    def _miss(self, name: str, detail: str) -> None:
        self._steps.append(ConfinementStep(name, False, detail))

    @contextmanager
    def _step(self, name: str, *, is_reported: bool = True) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._miss(name, str(error))
        else:
            if is_reported:
                self._steps.append(ConfinementStep(name, True))


class _Mapper:
    """A process that stays in the parent's user namespace, to write this process's id maps from there."""

    def __init__(self) -> None:
        reader, self._start = os.pipe()
        target = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._start)
            _map_when_told(reader, target)
        os.close(reader)

    def map_all(self) -> bool:
        """Map all ids to themselves. Returns whether that is allowed."""
        os.write(self._start, b"\0")
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return status == 0

    def close(self) -> None:
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
