"""Namespaces, as root and as an ordinary user, each in its own child process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gigaexec.sandbox.namespaces import (
    NEW_IPC,
    NEW_MOUNTS,
    NEW_NETWORK,
    NEW_PID,
    NEW_USER,
    close_device,
    make_mounts_private,
    make_writable,
    mount_memory,
    mount_proc,
    reason_for_no_user_namespace,
    remount_read_only,
    setns,
    unshare,
    user_and_group,
    write_full_identity_map,
    write_identity_map,
)
from tests.unit.sandbox.confined import errno_of, in_child
from tests.unit.sandbox.conftest import Folders

pytestmark = pytest.mark.usefixtures("user_namespaces")


def enter(flags: int) -> None:
    ids = user_and_group()
    unshare(NEW_USER | flags)
    write_identity_map(*ids)


def test_ids_are_kept(user: int) -> None:
    def confine() -> object:
        enter(0)
        return os.geteuid(), os.getegid()

    assert in_child(confine, user) == [user, user]


def test_the_setting_that_forbids_user_namespaces_is_named(user: int) -> None:
    def confine() -> object:
        unshare(NEW_USER)
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")  # user 0 of the namespace owns the setting
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        try:
            unshare(NEW_USER)
        except OSError as error:
            return reason_for_no_user_namespace(error)
        return "a user namespace"

    reason = "user namespaces are not allowed (user.max_user_namespaces is 0)"
    assert in_child(confine, user) == reason


def test_the_network_is_empty(user: int) -> None:
    def confine() -> object:
        with socket.socket(socket.AF_INET) as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            enter(NEW_NETWORK)
            with socket.socket(socket.AF_INET) as client:
                return errno_of(lambda: client.connect(server.getsockname())), len(socket.if_nameindex())

    failure, interfaces = in_child(confine, user)
    assert failure == "ENETUNREACH"
    assert interfaces == 1


def test_proc_shows_the_own_processes_alone(user: int) -> None:
    def confine() -> object:
        enter(NEW_PID | NEW_MOUNTS)

        def look() -> object:
            failure = errno_of(mount_proc)
            return failure or [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]

        return in_child(look)

    mounts = Path("/proc/self/mountinfo").read_bytes()
    shown = in_child(confine, user)
    if shown == "EPERM":
        pytest.skip("parts of /proc are covered by mounts here, so the kernel refuses a new one")
    assert shown == ["1"]
    assert Path("/proc/self/mountinfo").read_bytes() == mounts


def test_read_only_but_for_the_scratch_folder(folders: Folders, user: int) -> None:
    def confine() -> object:
        enter(NEW_MOUNTS)
        remount_read_only()
        make_writable(str(folders.scratch))
        (folders.scratch / "file").write_text("text")
        (folders.scratch / "file").chmod(0o600)
        Path("/dev/null").write_bytes(b"gone")
        # Flags of the scratch folder's own mount, and of a separate file system.
        assert os.statvfs(folders.scratch).f_flag & (os.ST_NOSUID | os.ST_NODEV) == os.ST_NOSUID | os.ST_NODEV
        assert os.statvfs("/dev/shm").f_flag & os.ST_RDONLY
        return [
            errno_of(attempt)
            for attempt in (
                lambda: folders.secret.write_bytes(b""),
                lambda: folders.secret.chmod(0o777),
                lambda: os.chown(folders.secret, user, user),
                lambda: os.utime(folders.secret),
                lambda: os.setxattr(folders.secret, "user.x", b""),
                lambda: (folders.outside / "new").mkdir(),
            )
        ]

    mounts = Path("/proc/self/mountinfo").read_bytes()
    assert in_child(confine, user) == ["EROFS"] * 6
    assert Path("/proc/self/mountinfo").read_bytes() == mounts
    assert folders.secret.stat().st_mode & 0o777 == 0o644
    assert (folders.scratch / "file").read_text() == "text"


def test_a_file_system_in_memory_is_bounded_and_seen_here_alone(folders: Folders, user: int) -> None:
    def confine() -> object:
        enter(NEW_MOUNTS)
        mount_memory(str(folders.scratch), 1 << 20)
        remount_read_only()
        read_only = errno_of((folders.scratch / "file").touch)
        make_writable(str(folders.scratch))
        too_much = errno_of(lambda: (folders.scratch / "file").write_bytes(bytes(2 << 20)))
        return read_only, too_much, [path.name for path in folders.scratch.iterdir()]

    assert in_child(confine, user) == ["EROFS", "ENOSPC", ["file"]]
    assert not list(folders.scratch.iterdir())


def test_a_folder_opened_before_still_leads_to_the_writable_mount(folders: Folders, user: int) -> None:
    """Show why LandlockRuleset.restrict_self closes its descriptors."""

    def confine() -> object:
        folder = os.open(folders.outside, os.O_PATH)
        enter(NEW_MOUNTS)
        remount_read_only()
        return errno_of(lambda: os.chmod("secret", 0o600, dir_fd=folder)), errno_of(
            lambda: folders.secret.chmod(0o600)
        )

    assert in_child(confine, user) == ["", "EROFS"]


def test_a_closed_device_can_be_opened_by_nobody_inside(user: int) -> None:
    def confine() -> object:
        enter(NEW_MOUNTS)
        close_device("/dev/zero")
        return errno_of(lambda: os.open("/dev/zero", os.O_RDONLY)), errno_of(
            lambda: os.open("/dev/zero", os.O_RDWR)
        )

    assert in_child(confine, user) == ["EACCES", "EACCES"]
    with Path("/dev/zero").open("rb") as device:
        assert device.read(1) == b"\0"


def test_a_missing_writable_folder_is_an_error(folders: Folders, user: int) -> None:
    def confine() -> object:
        enter(NEW_MOUNTS)
        remount_read_only()
        return errno_of(lambda: make_writable(str(folders.scratch / "missing")))

    assert in_child(confine, user) == "ENOENT"


def test_back_into_a_namespace_by_its_file(user: int) -> None:
    def confine() -> object:
        enter(NEW_NETWORK)
        network = Path("/proc/self/ns/net")
        first = network.readlink()
        descriptor = os.open(network, os.O_RDONLY)
        unshare(NEW_NETWORK)
        second = network.readlink()
        wrong_kind = errno_of(lambda: setns(descriptor, NEW_IPC))
        setns(descriptor, NEW_NETWORK)
        return first != second, network.readlink() == first, wrong_kind

    assert in_child(confine, user) == [True, True, "EINVAL"]


def test_mounts_are_private(folders: Folders, user: int) -> None:
    def confine() -> object:
        enter(NEW_MOUNTS)
        make_mounts_private()
        return "shared:" in Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    assert in_child(confine, user) is False


def test_another_process_gets_all_ids_from_root_alone(user: int) -> None:
    def confine() -> object:
        made, mapped = os.pipe(), os.pipe()
        if (pid := os.fork()) == 0:
            unshare(NEW_USER)
            os.write(made[1], b"x")
            os.read(mapped[0], 1)
            can_be_another = not errno_of(lambda: os.setresuid(7, 7, 7))
            os._exit(10 if can_be_another else 11)
        os.read(made[0], 1)
        failure = errno_of(lambda: write_full_identity_map(pid))
        os.write(mapped[1], b"x")
        return failure, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert in_child(confine, user) == (["", 10] if user == 0 else ["EPERM", 11])
