"""Operations that Landlock refuses and allows, as root and as an ordinary user."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gigaexec.sandbox.landlock import Access, LandlockRuleset, abi_version
from tests.unit.sandbox.confined import errno_of, in_child
from tests.unit.sandbox.conftest import Folders

ABI = abi_version() if hasattr(os, "O_PATH") else 0
pytestmark = pytest.mark.skipif(ABI == 0, reason="Landlock is not available in this kernel")
needs_network_rules = pytest.mark.skipif(ABI < 4, reason=f"Landlock ABI {ABI}: rules for TCP need 4")
needs_scopes = pytest.mark.skipif(ABI < 6, reason=f"Landlock ABI {ABI}: scopes need 6")


def confined(folders: Folders, user: int, attempt: Callable[[], object], **network: object) -> object:
    """Run `attempt` in a child confined to the scratch folder, /dev/null and programs."""

    def confine() -> object:
        landlock.restrict_self([(str(folders.scratch), Access.WRITE), ("/nowhere", Access.WRITE)])
        return attempt()

    static = [*((p, Access.EXECUTE) for p in ("/usr", "/lib", "/lib64", "/bin")), ("/dev/null", Access.WRITE)]
    landlock = LandlockRuleset([*static, ("/nowhere", Access.READ)], **network)  # type: ignore[arg-type]
    try:
        return in_child(confine, user)
    finally:
        landlock.close()


def test_files_outside_are_refused(folders: Folders, user: int) -> None:
    def attempt() -> object:
        return {
            "read": errno_of(folders.secret.read_bytes),
            "write": errno_of(lambda: folders.secret.write_bytes(b"")),
            "truncate": errno_of(lambda: os.truncate(folders.secret, 0)) if ABI >= 3 else "EACCES",
            "list": errno_of(lambda: list(folders.outside.iterdir())),
            "create": errno_of(lambda: (folders.outside / "new").touch()),
            "make folder": errno_of(lambda: (folders.outside / "new").mkdir()),
            "delete": errno_of(folders.secret.unlink),
            "write among programs": errno_of(lambda: os.open("/usr/bin/env", os.O_WRONLY)),
        }

    assert confined(folders, user, attempt) == dict.fromkeys(
        ("read", "write", "truncate", "list", "create", "make folder", "delete", "write among programs"),
        "EACCES",
    )


def test_a_file_leaves_and_enters_scratch_by_no_rename_or_link(folders: Folders, user: int) -> None:
    def attempt() -> object:
        inside = folders.scratch / "file"
        inside.touch()
        return [
            errno_of(lambda: os.link(folders.secret, folders.scratch / "link")),
            errno_of(lambda: folders.secret.rename(folders.scratch / "moved")),
            errno_of(lambda: inside.rename(folders.outside / "moved")),
        ]

    refused = confined(folders, user, attempt)
    assert isinstance(refused, list)
    assert set(refused) <= {"EACCES", "EXDEV"}


def test_the_scratch_folder_is_free_but_for_devices(folders: Folders, user: int) -> None:
    def attempt() -> object:
        one, two = folders.scratch / "one", folders.scratch / "two"
        one.mkdir()
        two.mkdir()
        (one / "file").write_text("text")
        (one / "link").symlink_to("file")
        os.mkfifo(one / "pipe")
        if ABI >= 2:
            (one / "file").rename(two / "file")  # a rename between folders needs the right REFER
            os.link(two / "file", one / "file")
        (one / "file").write_text("again")
        program = folders.scratch / "program"
        program.write_text("#!/bin/sh\necho ran\n")
        program.chmod(0o700)
        ran = subprocess.run([program], capture_output=True, text=True, check=True)
        device = errno_of(lambda: os.mknod(folders.scratch / "device", 0o20600, os.makedev(1, 3)))
        return (one / "file").read_text(), ran.stdout, device

    assert confined(folders, user, attempt) == ["again", "ran\n", "EACCES"]


def test_dev_null_can_be_used_and_no_other_device(folders: Folders, user: int) -> None:
    def attempt() -> object:
        with Path("/dev/null").open("wb", buffering=0) as null:
            null.write(b"gone")
            # ENOTTY: /dev/null is no terminal. Without the ioctl right the error would be EACCES.
            ioctl = errno_of(lambda: os.tcgetpgrp(null.fileno()))
        return ioctl, errno_of(lambda: Path("/dev/zero").open("rb"))

    assert confined(folders, user, attempt) == ["ENOTTY", "EACCES"]


def test_reading_is_not_executing(folders: Folders, user: int) -> None:
    def confine() -> object:
        LandlockRuleset([("/usr", Access.READ), ("/lib", Access.READ), ("/bin", Access.READ)]).restrict_self()
        return errno_of(lambda: os.execv("/bin/true", ["true"]))

    assert in_child(confine, user) == "EACCES"


def test_the_childs_copies_of_the_descriptors_are_closed(folders: Folders, user: int) -> None:
    descriptor = os.open(folders.scratch, os.O_PATH)
    landlock = LandlockRuleset([(descriptor, Access.WRITE), ("/usr", Access.READ)])

    def confine() -> object:
        landlock.restrict_self()
        (folders.scratch / "written").touch()
        return errno_of(lambda: os.fstat(descriptor))

    assert in_child(confine, user) == "EBADF"
    os.fstat(descriptor)  # the parent's descriptor is still open
    assert in_child(confine, user) == "EBADF"  # a second child closes the descriptor too
    landlock.close()
    assert errno_of(lambda: os.fstat(descriptor)) == "EBADF"


def test_a_shortage_of_descriptors_leaves_no_path_out(user: int) -> None:
    def confine() -> object:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        return errno_of(lambda: LandlockRuleset([("/usr", Access.READ)]))

    assert in_child(confine, user) == "EMFILE"


def test_what_holds_is_reported(user: int) -> None:
    def confine() -> object:
        return [(step.name, step.held) for step in LandlockRuleset().restrict_self()]

    def confine_files_only() -> object:
        return [step.name for step in LandlockRuleset(allow_network=True).restrict_self()]

    assert in_child(confine, user) == [
        ["landlock_files", True],
        ["landlock_network", ABI >= 4],
        ["landlock_scopes", ABI >= 6],
    ]
    assert in_child(confine_files_only, user) == ["landlock_files", "landlock_scopes"]


def test_without_landlock_it_says_so(user: int) -> None:
    def confine() -> object:
        landlock = LandlockRuleset()
        landlock.abi = 0
        return errno_of(landlock.restrict_self)

    assert in_child(confine, user) == "ENOTSUP"  # the same number as EOPNOTSUPP


@needs_scopes
def test_processes_outside_get_no_signals_and_own_ones_do(folders: Folders, user: int) -> None:
    def attempt_beside_bystander() -> object:
        read_end, write_end = os.pipe()
        if (bystander := os.fork()) == 0:
            os.close(write_end)
            os.read(read_end, 1)  # returns when the child that holds the write end exits
            os._exit(0)
        LandlockRuleset().restrict_self()
        refused = errno_of(lambda: os.kill(bystander, signal.SIGKILL))
        if (own := os.fork()) == 0:
            signal.pause()
        os.kill(own, signal.SIGKILL)
        ended_by = os.WTERMSIG(os.waitpid(own, 0)[1])
        os.close(write_end)
        return refused, ended_by, os.waitpid(bystander, 0)[1]

    assert in_child(attempt_beside_bystander, user) == ["EPERM", signal.SIGKILL, 0]


@needs_scopes
def test_abstract_sockets_outside_are_out_of_reach(user: int) -> None:
    def confine() -> object:
        name = f"\0gigaexec-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as outside, socket.socket(socket.AF_UNIX) as client:
            outside.bind(name)
            outside.listen()
            LandlockRuleset().restrict_self()
            return errno_of(lambda: client.connect(name))

    assert in_child(confine, user) == "EPERM"


@needs_network_rules
def test_tcp_is_refused(user: int) -> None:
    def confine() -> object:
        with listening() as server:
            LandlockRuleset().restrict_self()
            return errno_of(lambda: connect(server)), errno_of(listening)

    assert in_child(confine, user) == ["EACCES", "EACCES"]


@needs_network_rules
def test_all_network_can_be_allowed(user: int) -> None:
    def confine() -> object:
        LandlockRuleset(allow_network=True).restrict_self()
        with listening() as server:
            return errno_of(lambda: connect(server))

    assert in_child(confine, user) == ""


def listening() -> socket.socket:
    # Not create_server: it imports a codec whose file an ordinary user may not be able to read.
    server = socket.socket(socket.AF_INET)
    try:
        server.bind(("127.0.0.1", 0))
    except OSError:
        server.close()
        raise
    server.listen()
    return server


def connect(server: socket.socket) -> None:
    with socket.socket(socket.AF_INET) as client:
        client.connect(server.getsockname())
