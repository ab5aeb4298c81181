"""The reason that people read when the kernel refuses a user namespace."""

from __future__ import annotations

import errno
import os

import pytest

from gigaexec.sandbox import namespaces
from gigaexec.sandbox.namespaces import reason_for_no_user_namespace

_LIMIT, _APPARMOR = "user.max_user_namespaces", "kernel.apparmor_restrict_unprivileged_userns"


@pytest.mark.parametrize(
    ("number", "settings", "reason"),
    [
        (errno.ENOSPC, {_LIMIT: "0"}, f"user namespaces are not allowed ({_LIMIT} is 0)"),
        (errno.ENOSPC, {_LIMIT: "9"}, "[Errno 28] No space left on device: 'unshare'"),
        (errno.EPERM, {_LIMIT: "0"}, "[Errno 1] Operation not permitted: 'unshare'"),
        (errno.EPERM, {_APPARMOR: "0"}, "[Errno 1] Operation not permitted: 'unshare'"),
        (errno.EPERM, {_APPARMOR: "1"}, f"[Errno 1] Operation not permitted: 'unshare' ({_APPARMOR} is 1)"),
        (errno.EACCES, {_APPARMOR: "1"}, f"[Errno 13] Permission denied: 'unshare' ({_APPARMOR} is 1)"),
        (errno.ENOMEM, {_APPARMOR: "1"}, "[Errno 12] Cannot allocate memory: 'unshare'"),
    ],
)
def test_a_setting_is_named_as_the_cause_only_if_it_is_certain(
    number: int, settings: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "_is_setting", lambda name, value: settings.get(name) == value)
    assert reason_for_no_user_namespace(OSError(number, os.strerror(number), "unshare")) == reason
