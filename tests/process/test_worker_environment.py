"""R50, R52: visibility of the driver's environment and descriptors in a worker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gigaexec
from gigaexec import DEFAULT_ENV_PREFIXES, DEFAULT_ENV_WHITELIST
from tests.process.scripts import json_of_script

SECRET_NAMES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GH_TOKEN", "GITHUB_TOKEN", "OPENAI_API_KEY"),
    *("ANTHROPIC_API_KEY", "LANGFUSE_SECRET_KEY", "WANDB_API_KEY", "HF_TOKEN", "STRIPE_API_KEY"),
    *("SUPABASE_SERVICE_KEY", "EDITOR", "_", "PATH_TO_KEY", "path"),
)
SECRET = "the-secret-value"

# Reads the environment in all available ways.
PROGRAM = """
import ctypes, os, subprocess, sys
def f(names):
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    with open("/proc/self/environ", "rb") as file:
        own_block = file.read()
    forked_block = b""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, open(f"/proc/{os.getpid()}/environ", "rb").read())
        os._exit(0)
    os.close(writer)
    while data := os.read(reader, 65536):
        forked_block += data
    os.close(reader)
    os.wait()
    child = subprocess.run([sys.executable, "-c", "print(open('/proc/self/environ').read())"],
                           capture_output=True, text=True, check=True).stdout
    return {
        "os.environ": dict(os.environ),
        "getenv": [name for name in names if getenv(name.encode()) is not None],
        "/proc/self/environ": own_block.decode(),
        "environ of a forked child": forked_block.decode(),
        "environ of a child": child,
    }
"""

DRIVER = """
import json, os, sys, gigaexec
# A secret that comes late is no different.
os.environ["LATE_TOKEN"] = "the-secret-value"
names = json.loads(sys.argv[2]) + ["LATE_TOKEN"]
print(json.dumps(gigaexec.run(sys.argv[1], "f", names)))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The environment that a program sees if the driver's environment holds secrets."""
    env = {
        **dict.fromkeys(SECRET_NAMES, SECRET),
        "LC_ALL": "C.UTF-8",
        "GIGAEVO_NOTE": "for workers",
        "GIGAEVO_EXECUTOR_SPILL_DIR": str(tmp_path_factory.mktemp("spill") / "spill"),
    }
    found: dict[str, Any] = json_of_script(DRIVER, PROGRAM, json.dumps(SECRET_NAMES), env=env)
    return found


def test_r50_os_environ_holds_the_whitelist_and_nothing_else(seen: dict[str, Any]) -> None:
    names = set(seen["os.environ"])
    assert {"LC_ALL", "GIGAEVO_NOTE", "GIGAEVO_WORKER_ID", "GIGAEVO_NODE_ID", "PATH"} <= names
    assert not [
        name
        for name in names
        if name not in DEFAULT_ENV_WHITELIST and not name.startswith(DEFAULT_ENV_PREFIXES)
    ]


def test_r50_c_code_finds_no_secret(seen: dict[str, Any]) -> None:
    assert seen["getenv"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("place", ["/proc/self/environ", "environ of a forked child", "environ of a child"])
def test_r50_a_view_of_the_environment_holds_no_secret(place: str, seen: dict[str, Any]) -> None:
    entries = [entry for entry in seen[place].strip("\0\n").split("\0") if entry]
    assert SECRET not in seen[place]
    assert entries, "the environment block must not be empty"
    names = {entry.partition("=")[0] for entry in entries}
    assert "GIGAEVO_WORKER_ID" in names
    assert not names & {*SECRET_NAMES, "LATE_TOKEN"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_r50_an_almost_empty_environment_of_the_driver_is_enough(spill_dir: Path) -> None:
    source = "import gigaexec; print(gigaexec.run('import os\\ndef f(): return sorted(os.environ)', 'f'))"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env={"GIGAEVO_EXECUTOR_SPILL_DIR": str(spill_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "GIGAEVO_WORKER_ID" in ended.stdout
    assert "PATH" not in ended.stdout
    assert ended.stderr == ""


def test_r51_a_widened_whitelist_lets_a_name_through(
    monkeypatch: pytest.MonkeyPatch, spill_dir: Path
) -> None:
    monkeypatch.setenv("MY_PROXY", "http://proxy")
    monkeypatch.setenv("MY_TOKEN", SECRET)
    config = gigaexec.WorkerConfig(
        max_workers=1, spill_dir=spill_dir, env_whitelist=DEFAULT_ENV_WHITELIST | {"MY_PROXY"}
    )
    backend = gigaexec.LokyBackend(config)
    code = "import os\ndef f(): return os.environ.get('MY_PROXY'), os.environ.get('MY_TOKEN')"
    try:
        assert gigaexec.run(code, "f", backend=backend) == ("http://proxy", None)
    finally:
        backend.shutdown_now(wait=True)


def test_r50_a_large_environment_reaches_the_worker(monkeypatch: pytest.MonkeyPatch, spill_dir: Path) -> None:
    for number in range(8):  # together, they do not fit into the socket to the worker
        monkeypatch.setenv(f"GIGAEVO_LARGE_{number}", "x" * 100_000)
    backend = gigaexec.LokyBackend(gigaexec.WorkerConfig(max_workers=1, spill_dir=spill_dir))
    code = "import os\ndef f(): return sum(len(os.environ[f'GIGAEVO_LARGE_{i}']) for i in range(8))"
    try:
        assert gigaexec.run(code, "f", backend=backend) == 800_000
    finally:
        backend.shutdown_now(wait=True)


OPEN_FILES = """
import os, time
def f(path, count):
    with open(path, "a") as file:
        print("here", file=file)
    limit = time.monotonic() + 60
    while len(open(path).readlines()) < count and time.monotonic() < limit:
        time.sleep(0.005)  # until the other workers are here, too
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own
    return os.getpid(), found
"""


def descriptors() -> dict[int, str]:
    """Map each descriptor of this process to the target of its link in /proc/self/fd."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_r52_a_worker_holds_no_descriptor_of_the_driver_except_its_channels(
    tmp_path: Path, spill_dir: Path
) -> None:
    before = set(descriptors().values())
    here, there = socket.socketpair()
    server = socket.create_server(("127.0.0.1", 0))
    reader, writer = os.pipe()
    backend = gigaexec.LokyBackend(gigaexec.WorkerConfig(max_workers=3, spill_dir=spill_dir))
    with here, there, server, (tmp_path / "database").open("w") as file:
        for descriptor in (here, there, server, file, reader, writer):
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            os.set_inheritable(number, True)
        ours = set(descriptors().values()) - before
        assert len(ours) == 5, "expected both sockets of the pair, the server, the file and the pipe"
        calls = [gigaexec.WorkerCall(OPEN_FILES, "f", [str(tmp_path / "here"), 3]) for _ in range(3)]
        try:
            answers = [outcome.unwrap() for outcome in gigaexec.map(calls, backend=backend)]
            driver_sockets = {place for place in descriptors().values() if place.startswith("socket:")}
        finally:
            backend.shutdown_now(wait=True)
            os.close(reader)
            os.close(writer)
    workers = {pid: set(found.values()) for pid, found in answers}
    assert len(workers) == 3
    for pid, places in workers.items():
        assert not places & ours
        assert not places & driver_sockets, "the driver's socket ends would keep a channel open"
        others = set().union(*(other for other_pid, other in workers.items() if other_pid != pid))
        shared = {place for place in places & others if place.startswith(("pipe:", "socket:"))}
        assert not shared, "a worker must not hold channels of other workers"
        assert not any("eventpoll" in place for place in places)
