"""The names of the sandbox's steps, in the order in which they are taken."""

from __future__ import annotations

STEP_NAMES = (
    "user_namespace",
    "pid_namespace",
    "mount_namespace",
    "network_namespace",
    "read_only_mounts",
    "private_proc",
    "ipc_namespace",
    "no_new_privileges",
    "no_capabilities",
    "landlock_files",
    "landlock_network",
    "landlock_scopes",
    "seccomp",
)
