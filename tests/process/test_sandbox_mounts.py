"""A sandbox on a machine with read-only mounts, in a separate mount namespace."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.process.scripts import json_of_script

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="needs Linux and root, to mount a file system"
)

_PRELUDE = """
import asyncio, json, os, sys
from gigaexec import ConfigurationError, ForkserverBackend, SandboxPolicy, WorkerCall, WorkerConfig
from gigaexec.sandbox import namespaces
from gigaexec.sandbox.system_calls import library_call

folder, spill_dir = sys.argv[1:]
namespaces.unshare(namespaces.NEW_MOUNTS)
namespaces.make_mounts_private()

def mount(flags):
    library_call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, None)

def backend():
    policy = SandboxPolicy.standard(write=[folder])
    return ForkserverBackend(WorkerConfig(max_workers=1, spill_dir=spill_dir, sandbox=policy))
"""
_READ_ONLY, _READ_ONLY_AGAIN = 1, 1 | 32  # MS_RDONLY, MS_REMOUNT of linux/mount.h


def _json_of(source: str, tmp_path: Path) -> object:
    folder = tmp_path / "folder"
    folder.mkdir()
    return json_of_script(_PRELUDE + source, str(folder), str(tmp_path / "spill"))


def test_a_write_folder_that_is_mounted_read_only_is_refused_at_once(tmp_path: Path) -> None:
    message = _json_of(
        f"""
mount({_READ_ONLY})
try:
    backend()
except ConfigurationError as error:
    print(json.dumps(str(error)))
""",
        tmp_path,
    )
    folder = str(tmp_path / "folder")
    assert message == (
        f"SandboxPolicy.write contains {folder!r}, which is on a read-only mount; remove it, or mount it "
        "read-write"
    )


def test_calls_keep_their_scratch_folder_if_a_write_folder_becomes_read_only(tmp_path: Path) -> None:
    found = _json_of(
        f"""
mount(0)
made = backend()
mount({_READ_ONLY_AGAIN})
code = '''
def f(folder):
    for path in ("mine", "/dev/shm/mine"):
        open(path, "w").close()
    try:
        open(folder + "/file", "w")
    except OSError as error:
        return type(error).__name__
'''
outcome = asyncio.run(made.run(WorkerCall(code, "f", [folder]), deadline_s=30))
made.shutdown_now(wait=True)
missing = [[step.name, step.detail] for step in outcome.confinement if not step.held]
print(json.dumps([outcome.status, outcome.value, missing]))
""",
        tmp_path,
    )
    detail = f"[Errno 1] Operation not permitted: {str(tmp_path / 'folder')!r}"
    assert found == ["ok", "OSError", [["read_only_mounts", detail]]]
