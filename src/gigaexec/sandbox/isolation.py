"""Isolates the processes of a call, and confines the call's program, step by step.

    template    user, PID, mount and network namespaces,             once
                mounts read-only
      worker    its own PID namespace, /proc, System V IPC,          for each call
                writable scratch folder
      program   no capabilities, Landlock, seccomp                   just before the program runs

Every step is tried and the result recorded. Nothing is inferred from kernel versions. With the sandbox off,
the user, PID and mount namespaces are still created: when a PID namespace ends, the kernel kills every
process that the program started, even a daemonised one.
"""

from __future__ import annotations

import os

from gigaexec.calls import ConfinementStep
from gigaexec.sandbox import namespaces
from gigaexec.sandbox.capabilities import drop_all_capabilities, give_up_capabilities
from gigaexec.sandbox.denied_calls import denied_calls
from gigaexec.sandbox.file_rules import SHARED_MEMORY, FileRules
from gigaexec.sandbox.id_maps import IdMapper
from gigaexec.sandbox.landlock import LandlockRuleset
from gigaexec.sandbox.policy import SandboxLevel, SandboxPolicy
from gigaexec.sandbox.seccomp import SeccompFilter, build_program
from gigaexec.sandbox.steps import StepRecord, Steps

_SHARED_MEMORY_BYTES = 64 * 2**20
"""Size of a call's /dev/shm: enough for semaphores and small blocks.

The contents are charged to no process, so the memory limits miss them. This size is the only limit.
"""

# A process that can open /dev/zero for writing can map it shared. That memory is charged to no process, so
# the memory limits miss it. Landlock allows programs to open /dev/zero only for reading. Without Landlock,
# `close_device` is used: a read-only mount does not prevent writing to a device.
_SHARED_ZEROS = "/dev/zero"

_NAMESPACES = ("user_namespace", "pid_namespace", "mount_namespace")


class Isolation:
    """Applies the sandbox steps to one template and its calls, and records the results.

    Create it in the launcher, before the launcher starts a thread or forks the template.

    Args:
        policy: The sandbox policy.
        spill_dir: The folder that contains the scratch folders and results of all calls.
    """

    def __init__(self, policy: SandboxPolicy, spill_dir: str) -> None:
        self._policy = policy
        self._rules = FileRules(policy, private=(os.path.expanduser("~"), spill_dir))
        self._record = StepRecord()
        self._landlock: LandlockRuleset | None = None
        self._filter: SeccompFilter | None = None
        self._are_mounts_read_only = False
        self._has_private_shared_memory = False
        self.has_namespaces = False
        """True if `enter_namespaces` has created new user, PID and mount namespaces."""
        self.has_pid_namespaces = False
        """True if each call gets its own PID namespace."""
        self.has_expected_steps = False
        """In a worker: True if the worker's `steps` equal the template's `expected_steps`."""
        self.landlock_failure = ""
        """The error text if Landlock failed for this call on a machine that supports it; otherwise ""."""

    @property
    def steps(self) -> Steps:
        """The steps that were tried so far, by this process and by the processes that it was forked from."""
        return self._record.steps

    @property
    def expected_steps(self) -> Steps:
        """In the template: the value of `steps` in a worker if all steps that the worker applies succeed."""
        names = ("private_proc", "ipc_namespace") if self._policy.confines else ("private_proc",)
        return (*self.steps, *(ConfinementStep(name, True) for name in names))

    def enter_namespaces(self) -> None:
        """Enter a new user and a new mount namespace. The next child becomes PID 1 of a new PID namespace.

        If the kernel refuses, the steps are recorded as missing.
        """
        user, group = namespaces.user_and_group()
        mapper = None if self._policy.confines else IdMapper()
        try:
            namespaces.unshare(namespaces.NEW_USER | namespaces.NEW_PID | namespaces.NEW_MOUNTS)
            # With the sandbox off, map all ids if possible: a privileged user keeps access to all users'
            # files.
            if mapper is None or not mapper.map_all():
                namespaces.write_identity_map(user, group)
        except OSError as error:
            reason = namespaces.reason_for_no_user_namespace(error)
            self._record.add_missing(reason, *_NAMESPACES)
            if self._policy.confines and not self._policy.network:
                self._record.add_missing("needs a user namespace", "network_namespace")
            return
        finally:
            if mapper is not None:
                mapper.close()
        self._record.add(ConfinementStep(name, True) for name in _NAMESPACES)
        self.has_namespaces = self.has_pid_namespaces = True
        if self._policy.confines and not self._policy.network:
            # All calls share one network namespace, because creating a namespace takes 0.9 ms. No interface
            # is up in the shared namespace, so calls cannot reach each other.
            with self._record.attempt("network_namespace"):
                namespaces.unshare(namespaces.NEW_NETWORK)

    def give_up_pid_namespaces(self, reason: str) -> None:
        """In the template: run all calls in the template's PID namespace, not in one namespace per call.

        Args:
            reason: The reason why a call cannot get a PID namespace.

        Raises:
            OSError: /proc cannot be mounted for the template's PID namespace.
        """
        self.has_pid_namespaces = False
        self._record.replace_by_missing("pid_namespace", reason)
        # Supervisors find processes by the ids in /proc, so /proc must show the template's PID namespace.
        namespaces.unshare(namespaces.NEW_MOUNTS)
        namespaces.mount_proc(is_read_only=False)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that a forked worker needs for Landlock, and must therefore keep open."""
        return self._landlock.descriptors if self._landlock is not None else ()

    def prepare_shared_steps(self) -> None:
        """In the template: make mounts read-only, and build the Landlock ruleset and the seccomp filter."""
        if self.has_namespaces:
            with self._record.attempt("own_mounts_stay_inside", is_reported=False):
                namespaces.make_mounts_private()
        if not self._policy.confines:
            return
        if self.has_namespaces:
            with self._record.attempt("read_only_mounts"):
                namespaces.remount_read_only()
                self._are_mounts_read_only = True
                for folder in self._policy.write:
                    namespaces.make_writable(folder)
        else:
            self._record.add_missing("needs a mount namespace", "read_only_mounts")
        self._landlock = LandlockRuleset(self._rules.for_template(), allow_network=self._policy.network)
        if self._are_mounts_read_only and not self._landlock.abi and os.path.exists(_SHARED_ZEROS):
            with self._record.attempt("no_shared_zeros", is_reported=False):
                namespaces.close_device(_SHARED_ZEROS)
        try:
            self._filter = SeccompFilter(build_program(denied_calls(allow_network=self._policy.network)))
        except OSError as error:  # a processor whose system call numbers are unknown
            self._record.add_missing(str(error), "seccomp")

    def isolate_call(self, scratch: str) -> None:
        """Give the call its own mounts, /proc, System V IPC and /dev/shm. Set `has_expected_steps`.

        With the sandbox off, the call gets only its own mounts and /proc. Called in the worker, before the
        worker receives the call.
        """
        missing_before = self._record.missing_count
        self._isolate_call(scratch)
        self.has_expected_steps = self.has_pid_namespaces and self._record.missing_count == missing_before

    def _isolate_call(self, scratch: str) -> None:
        if not self.has_pid_namespaces:
            if self._policy.confines:
                self._record.add_missing("needs a PID namespace", "private_proc", "ipc_namespace")
            return
        namespaces.unshare(namespaces.NEW_MOUNTS)
        with self._record.attempt("private_proc"):
            namespaces.mount_proc(is_read_only=self._policy.confines)
        if not self._policy.confines:
            if os.geteuid() != 0:
                # In a user namespace, even an ordinary user has capabilities. They would prevent errors, such
                # as EACCES, that a program may rely on.
                give_up_capabilities()
            return
        with self._record.attempt("ipc_namespace"):
            namespaces.unshare(namespaces.NEW_IPC)
        if self._are_mounts_read_only:  # True even if a folder of `write` could not be made writable
            namespaces.make_writable(scratch)
            with self._record.attempt("private_shared_memory", is_reported=False):
                namespaces.mount_memory(SHARED_MEMORY, _SHARED_MEMORY_BYTES)
                self._has_private_shared_memory = True

    def confine_program(self, scratch: str, python_path: list[str]) -> None:
        """Confine this process and its future children irrevocably.

        Called in the worker, just before the program runs.
        """
        tried = StepRecord()
        with tried.attempt("no_capabilities"):
            drop_all_capabilities()
        self._apply_landlock(scratch, python_path, tried)
        if self._filter is not None:
            with tried.attempt("seccomp"):
                self._filter.install()
        # Each of the three steps sets NO_NEW_PRIVILEGES first, so the flag is set if any step succeeded.
        if any(step.held for step in tried.steps):
            self._record.add([ConfinementStep("no_new_privileges", True)])
        else:
            self._record.add_missing("all steps that set NO_NEW_PRIVILEGES failed", "no_new_privileges")
        self._record.add(tried.steps)

    def _apply_landlock(self, scratch: str, python_path: list[str], tried: StepRecord) -> None:
        assert self._landlock is not None
        rules = self._rules.for_call(
            scratch,
            python_path,
            has_private_proc=self._record.has("private_proc"),
            has_private_shared_memory=self._has_private_shared_memory,
        )
        try:
            tried.add(self._landlock.restrict_self(rules))
        except OSError as error:
            if self._landlock.abi:  # Landlock works on this machine, so the cause is this call or a shortage
                self.landlock_failure = f"Landlock could not be applied to this call: {error}"
            network = () if self._policy.network else ("landlock_network",)
            tried.add_missing(str(error), "landlock_files", *network, "landlock_scopes")

    def missing(self) -> str:
        """Return an error text that lists the failed steps, for the level `strict`; "" if no step failed.

        The other levels require no step, so for them the text is "".
        """
        if self._policy.level is not SandboxLevel.STRICT or not self._record.missing_count:
            return ""
        return f"the strict sandbox is not available on this machine: {self._record.describe_missing()}"
