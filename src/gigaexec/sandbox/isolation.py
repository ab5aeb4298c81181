"""Isolates the processes of a call, and confines its program, step by step.

    template    user, PID, mount and network namespaces,             once
                mounts read-only
      worker    its own PID namespace, /proc, System V IPC,           for each call
                writable scratch folder
      program   no capabilities, Landlock, seccomp                    when the call has come

Every step is tried and its result recorded; nothing is inferred from versions. With the sandbox off, the
user, PID and mount namespaces are still made: the end of a PID namespace kills every process that a program
started, even if it hides.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from gigaexec.calls import ConfinementStep
from gigaexec.sandbox import namespaces
from gigaexec.sandbox.capabilities import drop_all_capabilities, give_up_capabilities
from gigaexec.sandbox.denied_calls import denied_calls
from gigaexec.sandbox.file_rules import SHARED_MEMORY, FileRules
from gigaexec.sandbox.id_maps import IdMapper
from gigaexec.sandbox.landlock import Landlock
from gigaexec.sandbox.policy import SandboxLevel, SandboxPolicy
from gigaexec.sandbox.seccomp import Filter, build_program

_SHARED_MEMORY_BYTES = 64 * 2**20
"""Room for semaphores and small blocks. Its contents are charged to no process, so the size is the limit."""

# A process that can open /dev/zero for writing can map it shared. That memory is charged to no process, so
# the limits miss it. Landlock gives programs read access only; a read-only mount does not prevent writing to
# a device.
_SHARED_ZEROS = "/dev/zero"

# Transient shortages: retry, do not disable the step permanently.
SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETOOMANYREFS)

_NAMESPACES = ("user_namespace", "pid_namespace", "mount_namespace")

Steps = tuple[ConfinementStep, ...]


class Isolation:
    """The steps of one template and its calls. Made in the template's first process, before any thread.

    Args:
        policy: The sandbox policy.
        spill_dir: The folder of all calls' scratch folders and results.
    """

    def __init__(self, policy: SandboxPolicy, spill_dir: str) -> None:
        self._policy = policy
        self._rules = FileRules(policy, private=(os.path.expanduser("~"), spill_dir))
        self._steps: list[ConfinementStep] = []
        self._landlock: Landlock | None = None
        self._filter: Filter | None = None
        self._are_mounts_read_only = False
        self._has_own_shared_memory = False
        self.has_pid_namespaces = False
        """True if each call gets a PID namespace of its own."""
        self.call_is_as_expected = False
        self.landlock_failure = ""
        """The reason why Landlock could not be applied to this call, although the machine has it; else ""."""
        self.has_namespaces = False
        """True if this process is in a user and a mount namespace, and its next child in a PID namespace."""

    @property
    def steps(self) -> Steps:
        """The steps that were tried up to here, in this process and in those that it was forked from."""
        return tuple(self._steps)

    @property
    def expected_steps(self) -> Steps:
        """In the template: the `steps` of a worker in which all steps of the worker hold."""
        names = ("private_proc", "ipc_namespace") if self._policy.confines else ("private_proc",)
        return (*self._steps, *(ConfinementStep(name, True) for name in names))

    def enter_namespaces(self) -> None:
        """Enter a user and a mount namespace, and a PID namespace in which the next child is PID 1."""
        user, group = namespaces.user_and_group()
        mapper = None if self._policy.confines else IdMapper()
        try:
            namespaces.unshare(namespaces.NEW_USER | namespaces.NEW_PID | namespaces.NEW_MOUNTS)
            # With the sandbox off, a privileged user keeps access to the files of all users.
            if mapper is None or not mapper.map_all():
                namespaces.write_identity_map(user, group)
        except OSError as error:
            reason = namespaces.reason_for_no_user_namespace(error)
            self._steps += [ConfinementStep(name, False, reason) for name in _NAMESPACES]
            if self._policy.confines and not self._policy.network:
                self._miss("network_namespace", "it needs a user namespace")
            return
        finally:
            if mapper is not None:
                mapper.close()
        self._steps += [ConfinementStep(name, True) for name in _NAMESPACES]
        self.has_namespaces = self.has_pid_namespaces = True
        if self._policy.confines and not self._policy.network:
            # One network namespace for all calls: making one takes 0.9 ms, and calls cannot reach each other
            # in it.
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
        # Supervisors find processes by the ids that /proc shows, which must be those of the template's PID
        # namespace.
        namespaces.unshare(namespaces.NEW_MOUNTS)
        namespaces.mount_proc(is_read_only=False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors of this process that a worker needs."""
        return self._landlock.descriptors if self._landlock is not None else ()

    def prepare_shared_steps(self) -> None:
        """In the template: prepare the steps that all calls share."""
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
        self._landlock = Landlock(self._rules.of_template(), allow_network=self._policy.network)
        if self._are_mounts_read_only and not self._landlock.abi and os.path.exists(_SHARED_ZEROS):
            with self._step("no_shared_zeros", is_reported=False):
                namespaces.close_device(_SHARED_ZEROS)
        try:
            self._filter = Filter(build_program(denied_calls(allow_network=self._policy.network)))
        except OSError as error:  # a processor whose system call numbers are unknown
            self._miss("seccomp", str(error))

    def isolate_call(self, scratch: str) -> None:
        """In the worker, before anything else: isolate the call. Sets `call_is_as_expected`."""
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
                # An ordinary user has no capabilities outside, and programs may rely on the resulting errors.
                give_up_capabilities()
            return
        with self._step("ipc_namespace"):
            namespaces.unshare(namespaces.NEW_IPC)
        if self._are_mounts_read_only:  # true even if the step then failed for a folder of `write`
            namespaces.make_writable(scratch)
            with self._step("private_shared_memory", is_reported=False):
                namespaces.mount_memory(SHARED_MEMORY, _SHARED_MEMORY_BYTES)
                self._has_own_shared_memory = True

    def confine_program(self, scratch: str, python_path: list[str]) -> None:
        """In the worker, just before the program: irrevocably confine this process and its children."""
        assert self._landlock is not None
        before = len(self._steps)
        with self._step("no_capabilities"):
            drop_all_capabilities()
        rules = self._rules.of_call(
            scratch,
            python_path,
            has_private_proc=self._held("private_proc"),
            has_private_shared_memory=self._has_own_shared_memory,
        )
        try:
            steps = self._landlock.restrict_self(rules)
            self._steps += steps
        except OSError as error:
            if self._landlock.abi:  # the machine has Landlock: this call or a shortage is the cause
                self.landlock_failure = f"Landlock could not be applied to this call: {error}"
            for name in ("landlock_files", "landlock_network", "landlock_scopes"):
                if name != "landlock_network" or not self._policy.network:
                    self._miss(name, str(error))
        if self._filter is not None:
            with self._step("seccomp"):
                self._filter.install()
        # Each of the three steps sets NO_NEW_PRIVILEGES first, so this step holds if one of them did.
        held = any(step.held for step in self._steps[before:])
        self._steps.insert(before, ConfinementStep("no_new_privileges", held))

    def missing(self) -> str:
        """Return the steps that the policy requires and that do not hold, as an error text; "" if none."""
        if self._policy.level is not SandboxLevel.STRICT:
            return ""
        steps_by_reason: dict[str, list[str]] = {}
        for step in self._steps:
            if not step.held:
                steps_by_reason.setdefault(step.detail, []).append(step.name)
        missing = [f"{reason} (missing: {', '.join(names)})" for reason, names in steps_by_reason.items()]
        return f"the strict sandbox is not available here: {'; '.join(missing)}" if missing else ""

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
